"""What is said of an artifact without loading it."""
from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from command_checks import tenfold
from tenfold.runner.inspect_artifact import inspect_artifact, kernels_table
from tenfold.runner.report import console
from tenfold.runtime.manifest import Manifest
from tenfold.support.errors import TenfoldError


def table(folder: Path) -> str:
    stream = io.StringIO()
    console(stream).print(kernels_table(inspect_artifact(folder)), crop=False)
    return stream.getvalue()


def test_one_for_this_machine(tiny_artifact: Path):
    found, manifest = inspect_artifact(tiny_artifact), Manifest.read(tiny_artifact / "manifest.json")
    assert sum(found.files.values()) == manifest.bytes
    stated = [(kernel["function"], kernel["layers"], kernel["macs"]) for kernel in manifest.kernels]
    assert [(each.function, each.layers, each.macs) for each in found.kernels] == stated
    assert "conv" in table(tiny_artifact) and "grid" not in table(tiny_artifact)


def test_one_for_gpus(gpu_artifact: Path):
    found = inspect_artifact(gpu_artifact)
    convolution = next(each for each in found.kernels if each.layers == ("conv",))
    (launch,) = convolution.launches
    code = json.loads((gpu_artifact / "model.cuda").read_text())
    facts = {fact["kernel"]: fact for fact in code["facts"]}[launch.kernel]
    stated = code["routines"][convolution.function]["launches"][0]
    assert (list(launch.grid), list(launch.block)) == (stated["grid"], stated["block"])
    assert (launch.registers, launch.shared_bytes) == (facts["registers"], facts["shared_bytes"] + stated["shared_bytes"])
    shown = table(gpu_artifact)
    assert f" {launch.registers} " in shown and "x".join(map(str, launch.grid)) in shown and "for sm_80" in shown


def test_the_command(gpu_artifact: Path, tmp_path: Path):
    done = tenfold("inspect", gpu_artifact, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    for words in ("cuda:sm_80", "emulated", "no GPU has run it", "code for  sm_80, compute_80", "model.cuda", "registers"):
        assert words in done.out
    assert "image: float32[1, 3, 8, 8]" in done.out
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["kernels"][0]["launches"][0]["grid"] and content["manifest"]["target"]["name"] == "cuda:sm_80"


@pytest.mark.parametrize(("arguments", "message"), [
    (["--input-shape", "image=1,3,8,8"], "--input-shape says how to read a model"), (["--batch", "2"], "--batch says how"),
    (["--trust"], "--trust says how"), (["--outputs", "x"], "--outputs says how"),
])
def test_options_of_models_are_not_for_artifacts(tiny_artifact: Path, arguments: list[str], message: str):
    done = tenfold("inspect", tiny_artifact, *arguments)
    assert done.code == 2 and message in done.err and done.complaint is None


def test_a_folder_that_is_none(tmp_path: Path):
    done = tenfold("inspect", tmp_path)
    assert done.code == 2 and "not an artifact: there is no manifest.json in it" in done.err and done.complaint is None


def test_code_that_is_none(gpu_artifact: Path, tmp_path: Path):
    shutil.copytree(gpu_artifact, tmp_path / "copy")
    (tmp_path / "copy" / "model.cuda").write_text("{}")
    with pytest.raises(TenfoldError, match="no code for GPUs that this Tenfold reads"):
        inspect_artifact(tmp_path / "copy")
