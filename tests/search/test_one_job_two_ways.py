"""The API and the command do the same with the same options: the same plan, the same files, the same JSON."""
from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest
import tenfold
from search_fakes import QUICK, ModelDevice, classifier, images, labels
from tenfold import cli

METHODS = ",".join(QUICK)
BUDGET = ["--data", "d.npz", "--max-drop", "5", "--method", METHODS, "--cache", "cache", "--target", "zen3"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A network and data, timed by a device that computes its times."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tenfold.runner.bench.timed_module.TimedModules", lambda target, device: ModelDevice())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    model, x = classifier(), images(400)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=labels(model, x))
    return tmp_path


def command(monkeypatch, capsys, *arguments):
    """The JSON of ``tenfold compress``."""
    monkeypatch.setattr(sys, "argv", ["tenfold", "compress", "net.onnx", "-o", "command", *arguments, "--json", "-", "-q"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    assert not left.value.code, err
    return json.loads(out)


def timeless(report):
    """Without what no two runs have in common."""
    seconds = report["search"].pop("seconds") if report["search"] else None
    phases = report["search"].pop("phases") if report["search"] else {}
    assert seconds is None or sum(phases.values()) <= seconds
    assert not phases or {"collecting statistics", "timing candidates", "timing networks", "choosing"} <= phases.keys()
    report.pop("output", None), report.pop("wrote", None), report.pop("files", None), report.pop("made", None)
    assert seconds is None or seconds > 0
    return report


def check_same(work, content, done):
    """`content`: the command's JSON; `done`: what the API returned for the folder ``api``."""
    assert content["output"] == "command" and content["wrote"] == list(done.files) == sorted(done.files)
    assert {path.name for path in (work / "api").iterdir()} == {path.name for path in (work / "command").iterdir()} == set(done.files)
    for name in ("model.onnx", "plan.json"):
        assert (work / "api" / name).read_bytes() == (work / "command" / name).read_bytes()
    assert tenfold.Plan.read(work / "api" / "plan.json") == done.plan
    reports = [json.loads((work / folder / "report.json").read_text()) for folder in ("api", "command")]
    ours = json.loads(done.to_json())
    assert timeless(reports[0]) == timeless(reports[1]) == timeless(content) == timeless(ours)


@pytest.mark.slow
def test_a_budget(work, monkeypatch, capsys):
    content = command(monkeypatch, capsys, *BUDGET)
    settings = tenfold.Settings(methods=QUICK, cache="cache")
    done = tenfold.compress("net.onnx", "api", tenfold.Budget(max_drop=5), data="d.npz", settings=settings, target="zen3")
    assert done.search.budget == tenfold.Budget(max_drop=5) and done.after.ms < done.before.ms
    check_same(work, content, done)


@pytest.mark.slow
def test_a_recipe(work, monkeypatch, capsys):
    content = command(monkeypatch, capsys, "--method", "Channel-SVD", "--energy", "0.6", "--data", "d.npz", "--target", "zen3")
    done = tenfold.compress("net.onnx", "api", tenfold.Recipe("channel_svd", 0.6), data="d.npz", target="zen3")
    assert done.search is None and {layer.method for layer in done.layers} == {"channel_svd", None}
    check_same(work, content, done)


def test_a_plan(work, monkeypatch, capsys):
    tenfold.compress("net.onnx", "first", tenfold.Recipe(energy=0.7), target="zen3")
    content = command(monkeypatch, capsys, "--plan", "first/plan.json")
    done = tenfold.compress("net.onnx", "api", tenfold.Plan.read("first/plan.json"))
    check_same(work, content, done)
    assert (work / "api" / "model.onnx").read_bytes() == (work / "first" / "model.onnx").read_bytes()
