"""Damaged and foreign results: each is a page that holds together, or one line, and then no page."""

from __future__ import annotations

import contextlib
import json
import random
import re

import pytest
import tenfold
from command_checks import tenfold as command
from file_mutations import mutate_text
from parsed_page import parse
from result_samples import bench, profile, row, searched
from tenfold.support.errors import TenfoldError

CASES = 40  # of a seed
NO_NUMBER = re.compile(r"\b(nan|inf)\b")  # in what has numbers only


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_artifact):
    """The files that a page is made from, all of them good: their paths within a folder, and texts."""
    folder = tmp_path_factory.mktemp("results")
    small = searched(folder / "small")
    rows = row("art", "tenfold", 2.0, profile=profile()), row("net.onnx", "openvino", 4.0)
    skipped = [{"model": "net.onnx", "engine": "torch", "reason": "it is not installed"}]
    manifest = json.loads((tiny_artifact / "manifest.json").read_text())
    report = json.loads((small / "report.json").read_text())
    layers = {layer["name"]: {"method": "channel_svd", "ranks": [8]} for layer in report["layers"] if layer["method"]}
    manifest["plan"] = {"model": report["model"], "layers": layers}  # compiled from this result: the page looks into both
    return {
        "small/report.json": json.dumps(report),
        "small/pareto.json": (small / "pareto.json").read_text(),
        "b.json": json.dumps(bench(*rows, skipped=skipped, disturbance={"warning": "the machine was disturbed"})),
        "art/manifest.json": json.dumps(manifest),
    }


def write(folder, texts):
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [folder / "small", folder / "b.json", folder / "art"]


def check_page(text):
    """Its elements are closed in order, and all numbers that place something are numbers."""
    page = parse(text)
    assert len(page.all("script")) == 1 and not page.all("img")
    for element in page.all():
        places = {name: value for name, value in element.attributes.items() if name in ("style", "points", "x", "y", "cx", "cy", "d")}
        assert not any(NO_NUMBER.search(value) for value in places.values()), (element.tag, places)


@pytest.mark.quick(2)
@pytest.mark.parametrize("seed", range(12))
def test_damaged_results(results, seed, tmp_path):
    rng, pages = random.Random(seed), 0
    for _ in range(CASES):
        texts = dict(results)
        for name in rng.choices(list(texts), k=rng.choice((1, 1, 2, 3))):
            with contextlib.suppress(ValueError):  # what is no JSON any more is damaged enough
                texts[name] = mutate_text(texts[name] if isinstance(texts[name], str) else texts[name].decode(), rng)
        sources, page = write(tmp_path, texts), tmp_path / "page.html"
        try:
            tenfold.report(sources, page)
        except TenfoldError as error:
            assert "\n" not in str(error) and any(name in str(error) for name in texts), error
            assert not page.exists()
        else:
            check_page(page.read_text(encoding="utf-8"))
            page.unlink()
            pages += 1
    assert 0 < pages < CASES


@pytest.mark.parametrize(("name", "change", "words"), [
    ("small/report.json", lambda content: content["before"].update(ms=10**400), "is too large"),
    ("small/report.json", lambda content: content["layers"][0].update(ms=-1.0), "-1.0 is less than 0"),
    ("small/pareto.json", lambda content: content["points"][1].update(uncertainty=-0.5), "-0.5 is less than 0"),
    ("b.json", lambda content: content["rows"][0]["profile"]["kernels"][0].update(ms=-3), "-3 is less than 0"),
    ("art/manifest.json", lambda content: content["verification"].update(max_abs_error=10**400), "is too large"),
])  # fmt: skip
def test_numbers_that_can_not_be(results, tmp_path, name, change, words):
    content = json.loads(results[name])
    change(content)
    sources = write(tmp_path, {**results, name: json.dumps(content)})
    outcome = command("report", *sources, "-o", tmp_path / "page.html")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and words in outcome.err and name in outcome.err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ["small/report.json", "small/pareto.json", "b.json", "art/manifest.json"])
def test_files_that_are_none(results, tmp_path, name):
    """A folder or a socket of their name, another kind of result, a link to nowhere."""
    sources = write(tmp_path, results)
    others = [text for other, text in results.items() if other != name]
    path = tmp_path / name
    for text in (*others, "", "[]", "3", "{}"):
        path.write_text(text)
        with pytest.raises(TenfoldError, match=re.escape(name)):
            tenfold.report(sources, tmp_path / "page.html")
    path.unlink()
    path.mkdir()
    with pytest.raises(TenfoldError):
        tenfold.report(sources, tmp_path / "page.html")
    path.rmdir()
    path.symlink_to("nowhere")
    with pytest.raises(TenfoldError):
        tenfold.report(sources, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_plan_of_another_shape_is_of_no_result(results, tmp_path):
    """A manifest may hold any plan: the page says then that no artifact is of this result."""
    for layers in ([], 3, None, "conv"):
        manifest = json.loads(results["art/manifest.json"])
        manifest["plan"]["layers"] = layers
        tenfold.report(write(tmp_path, {**results, "art/manifest.json": json.dumps(manifest)}), tmp_path / "page.html")
        found = parse((tmp_path / "page.html").read_text(encoding="utf-8")).one(id="layers").all("details")[0]
        assert "float32" not in found.one("span", "what").text
