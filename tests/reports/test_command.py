"""Pages by the command line: by themselves, and beside another result."""
from __future__ import annotations

import json
import shutil

import pytest
from command_checks import tenfold
from parsed_page import parse


@pytest.fixture
def work(tiny_file, tiny_artifact, tmp_path, monkeypatch):
    """A folder with a network and an artifact, in which commands run."""
    shutil.copy(tiny_file, tmp_path / "net.onnx")
    shutil.copytree(tiny_artifact, tmp_path / "art")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(path):
    return parse(path.read_text(encoding="utf-8"))


def test_a_page_of_what_compress_did(work):
    how = "compress", "net.onnx", "-o", "small", "--energy", "0.7", "--target", "zen3"
    outcome = tenfold(*how, "--html", "small.html", "--json", "small.json")
    assert outcome.code == 0 and "wrote small.html (" in outcome.out, outcome.err
    found = page(work / "small.html")
    assert [each.one("span", "name").text for each in found.all("details")] == ["conv", "fc"]
    command = "tenfold compress net.onnx -o small --energy 0.7 --target zen3 --html small.html --json small.json"
    assert found.one("pre").text == command == json.loads((work / "small" / "report.json").read_text())["made"]["command"]
    again = tenfold(*how)
    assert again.code == 0, again.err  # what is in the folder is an unchanged result


@pytest.mark.slow
def test_a_page_of_what_bench_measured(work):
    options = ["--against", "onnxruntime", "--runs", 2, "--profile", "--html", "b.html", "--json", "b.json"]
    outcome = tenfold("bench", "art", "net.onnx", *options, seconds=300)
    assert outcome.code == 0 and "wrote b.html (" in outcome.out, outcome.err
    found = page(work / "b.html")
    rows = json.loads((work / "b.json").read_text())["rows"]
    names = [line.one("span", "name").text for line in found.one(id="sides").one("tbody").all("tr")]
    assert names == [row["model"] for row in rows] == ["art", "net.onnx", "net.onnx"]
    assert len(found.all("ol", "waterfall")) == 2 and [each.one("h3").text for each in found.all("article")] == [
        "tenfold bench measured by bench", "art compiled, verified",
    ]  # fmt: skip
    assert found.all("pre")[0].text.startswith("tenfold bench art net.onnx --against")
    outcome = tenfold("report", "art", "b.json", "-o", "r.html")
    assert outcome.code == 0 and outcome.out == f"wrote r.html ({(work / 'r.html').stat().st_size / 1e3:.0f} kB)\n"
    assert [line.one("span", "name").text for line in page(work / "r.html").one(id="sides").one("tbody").all("tr")] == names


def test_an_artifact_says_by_what_it_was_compiled(work):
    assert tenfold("compile", "net.onnx", "-o", "a folder").code == 0
    assert tenfold("report", "a folder", "-o", "r.html").code == 0
    assert page(work / "r.html").one("pre").text == "tenfold compile net.onnx -o 'a folder'"


@pytest.mark.parametrize(("arguments", "words"), [
    (["compress", "net.onnx", "-o", "art", "--html", "art/p.html"], "a place beside it"),
    (["compress", "net.onnx", "-o", "small", "--html", "p.txt"], ".html"),
    (["bench", "art", "--html", "art/p.html"], "a place beside it"),
    (["bench", "art", "--html", "none/p.html"], "does not exist"),
    (["report", "art", "-o", "art/p.html"], "a place beside it"),
    (["report", "net.onnx", "-o", "p.html"], "net.onnx"),
    (["report", "-o", "p.html"], "WHAT"),
])  # fmt: skip
def test_where_no_page_can_be_is_told_before_the_work(work, arguments, words):
    outcome = tenfold(*arguments)
    assert outcome.code == 2 and outcome.complaint is None and words in outcome.err
    assert sorted(path.name for path in work.iterdir()) == ["art", "net.onnx"] and len(list((work / "art").iterdir())) == 3
