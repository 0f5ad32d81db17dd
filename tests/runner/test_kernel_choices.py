"""Kernels built from records: those of an artifact are made once more, others are taken, and what is no record is refused."""
from __future__ import annotations

import json

import pytest
import tenfold
from record_samples import other_pixels
from tenfold.runtime.manifest import Manifest, sha256_of
from tenfold.support.errors import TenfoldError


@pytest.fixture(scope="module")
def chosen(tiny_file, tmp_path_factory):
    """An artifact with the model's choices."""
    folder = tmp_path_factory.mktemp("chosen") / "net"
    tenfold.compile(tiny_file, output=folder)
    return folder


def test_an_artifact_says_what_its_kernels_were_built_from(chosen):
    choices = Manifest.read(chosen / "manifest.json").choices
    assert choices and all(point for point in choices.values())


def test_the_kernels_of_an_artifact_are_made_once_more(tiny_file, chosen, tmp_path):
    again = tenfold.compile(tiny_file, output=tmp_path / "again", choices=chosen)
    assert again.manifest.choices == Manifest.read(chosen / "manifest.json").choices
    assert sha256_of(tmp_path / "again" / "model.so") == sha256_of(chosen / "model.so")
    assert sha256_of(tmp_path / "again" / "weights.bin") == sha256_of(chosen / "weights.bin")


@pytest.mark.parametrize("form", ["mapping", "file"])
def test_other_choices_make_other_kernels(tiny_file, chosen, tmp_path, form):
    wanted = given = other_pixels(Manifest.read(chosen / "manifest.json").choices)
    if form == "file":
        given = tmp_path / "choices.json"
        given.write_text(json.dumps(wanted))
    made = tenfold.compile(tiny_file, output=tmp_path / "net", choices=given)
    [(workload, point)] = wanted.items()
    assert Manifest.read(tmp_path / "net" / "manifest.json").choices[workload] == point
    assert sha256_of(tmp_path / "net" / "model.so") != sha256_of(chosen / "model.so")
    assert made.manifest.verification["max_rel_error"] < 1e-4


@pytest.mark.parametrize(("content", "word"), [
    ("[]", "is no object"), ('{"conv2d": 3}', "is no object"), ('{"conv2d": {"pixels": 1.5}}', "no value of a knob"), ("{", "not JSON")])
def test_what_is_no_record_is_refused(tiny_file, tmp_path, content, word):
    (tmp_path / "choices.json").write_text(content)
    with pytest.raises(TenfoldError, match=word):
        tenfold.compile(tiny_file, output=tmp_path / "net", choices=tmp_path / "choices.json")
    assert not (tmp_path / "net").exists()


def test_a_point_that_can_not_be_built_is_refused(tiny_file, chosen, tmp_path):
    [(workload, point)] = other_pixels(Manifest.read(chosen / "manifest.json").choices).items()
    with pytest.raises(TenfoldError, match="can't be built on this target") as told:
        tenfold.compile(tiny_file, output=tmp_path / "net", choices={workload: {**point, next(iter(point)): 999}})
    assert workload.split(" ")[0] in str(told.value) and "\n" not in str(told.value) and not (tmp_path / "net").exists()


def test_records_of_other_networks_are_passed_over(tiny_file, chosen, tmp_path):
    made = tenfold.compile(tiny_file, output=tmp_path / "net", choices={"conv2d 9x9x9x9 filters 9 kernel 9x9": {"pixels": 3}})
    assert made.manifest.choices == Manifest.read(chosen / "manifest.json").choices
