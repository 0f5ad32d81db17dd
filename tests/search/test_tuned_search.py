"""`compress --tune`: the dense network and the last plans are tuned, and timed by what was found; the records stay in the user's log."""
from __future__ import annotations

import functools
import json

import numpy as np
import onnx
import pytest
import tenfold
from command_checks import tenfold as command
from search_fakes import classifier, images, labels
from tenfold.runner.tuning_records.files import user_folder
from tenfold.search.timing import tune_networks
from tenfold.tuning.tune import TuningSettings


@pytest.mark.slow
def test_a_search_tunes_its_last_plans(tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    tuned, tune_module = [], tune_networks.tune_module
    monkeypatch.setattr(tune_networks, "TuningSettings", functools.partial(TuningSettings, trials=2))

    def watched(*arguments):
        tuned.append(tune_module(*arguments))
        return tuned[-1]

    monkeypatch.setattr(tune_networks, "tune_module", watched)
    model, x = classifier(), images(100)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=labels(model, x))
    done = tenfold.compress(tmp_path / "net.onnx", tmp_path / "out", tenfold.Budget(max_drop=20), data=tmp_path / "d.npz",
                            settings=tenfold.Settings(threads=1, tune=True, methods=("channel_svd",)))
    assert len(tuned) >= 2 and all(found.trials <= 2 for found in tuned)  # the dense network, and what was found
    trials = [line for path in user_folder().glob("*/trials/*.jsonl") for line in path.read_text().splitlines()]
    assert len(trials) == sum(found.trials for found in tuned)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["after"]["ms"] == done.after.ms > 0


def test_tuning_needs_a_search(tiny_file, tmp_path):
    outcome = command("compress", tiny_file, "-o", tmp_path / "out", "--energy", "0.7", "--tune")
    assert outcome.code == 2 and "--tune is for the last plans of a search: give a budget too" in outcome.err
