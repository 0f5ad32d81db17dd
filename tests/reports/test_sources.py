"""What is no result is refused in one line."""

from __future__ import annotations

import json

import pytest
import tenfold
from result_samples import bench, folder, layer, report, row, searched
from tenfold.support.errors import TenfoldError


def refused(tmp_path, what, *words, output="page.html"):
    with pytest.raises(TenfoldError) as caught:
        tenfold.report(what, tmp_path / output)
    said = str(caught.value)
    assert "\n" not in said and all(word in said for word in words), said
    assert not (tmp_path / output).exists()


def test_nothing_to_show(tmp_path):
    refused(tmp_path, [], "nothing to report")
    refused(tmp_path, [tmp_path / "none"], "none")
    (tmp_path / "empty").mkdir()
    refused(tmp_path, [tmp_path / "empty"], "no folder of tenfold compress or compile")
    refused(tmp_path, [3], "int")


def test_the_same_twice(tmp_path):
    small = searched(tmp_path / "small")
    refused(tmp_path, [small, small], "given twice")


def test_where_it_is_written(tmp_path):
    small = searched(tmp_path / "small")
    refused(tmp_path, small, "page.png", ".html", output="page.png")
    refused(tmp_path, small, "does not exist", output="none/page.html")


BROKEN = {
    "no layers": lambda content: content.pop("layers"),
    "a layer of nothing": lambda content: content["layers"].append({}),
    "MACs in words": lambda content: content["after"].update(macs="many"),
    "a method that is a number": lambda content: content["layers"][0].update(method=3),
    "ranks that are none": lambda content: content["layers"][0].update(ranks=[1.5]),
    "a spectrum of two lengths": lambda content: content["layers"][0].update(spectra={"svd": {"ranks": [1], "values": []}}),
    "no time at all": lambda content: content["before"].update(ms=0),
    "a search that is a list": lambda content: content.update(search=[]),
    "a command that is a list": lambda content: content.update(made={"command": []}),
    "no object": lambda content: content.clear(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_report_that_is_none(tmp_path, name):
    content = report(layer("conv"))
    BROKEN[name](content)
    refused(tmp_path, [folder(tmp_path / "small", content)], "report.json", "no result of tenfold compress")


@pytest.mark.parametrize(
    "content", [[], {}, {"rows": []}, bench({}), bench(row("a", "b", 0.0)), bench(row("a", "b", 1.0, profile={"kernels": 1}))]
)
def test_a_bench_that_is_none(tmp_path, content):
    (tmp_path / "b.json").write_text(json.dumps(content))
    refused(tmp_path, [tmp_path / "b.json"], "b.json", "no result of tenfold bench")


def test_a_curve_that_is_none(tmp_path):
    small = searched(tmp_path / "small")
    (small / "pareto.json").write_text('{"points": [{}]}')
    refused(tmp_path, [small], "pareto.json", "--pareto")


def test_an_artifact_that_is_none(tmp_path):
    (tmp_path / "art").mkdir()
    (tmp_path / "art" / "manifest.json").write_text("{}")
    refused(tmp_path, [tmp_path / "art"], "not a manifest")
