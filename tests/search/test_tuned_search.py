"""`compress --tune`: the dense network and the last plans are tuned, and timed by what was found; the records stay in the user's log."""
from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
import tenfold
from command_checks import tenfold as command
from search_fakes import QUICK, ModelDevice, classifier, images, labels
from tenfold.frontends import load
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.here import Here
from tenfold.runner.tuning_records.files import user_folder
from tenfold.search.timing import tune_networks
from tenfold.search.timing.network_timing import Timing
from tenfold.targets import resolve
from tenfold.tuning.tune import TuningSettings


@pytest.mark.slow
def test_a_search_tunes_the_dense_network_and_its_last_plans(tmp_path, monkeypatch):
    tuned = []
    monkeypatch.setattr("tenfold.runner.bench.timed_module.TimedModules", lambda target, device: ModelDevice())
    monkeypatch.setattr(Timing, "tune", lambda self, choices: tuned.append(list(choices)))
    model, x = classifier(), images(200)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=labels(model, x))
    for tune in (True, False):
        settings = tenfold.Settings(tune=tune, methods=QUICK, cache=tmp_path / "cache")
        tenfold.compress(tmp_path / "net.onnx", tmp_path / f"out {tune}", tenfold.Budget(max_drop=20), data=tmp_path / "d.npz",
                         target="zen3", settings=settings)
    [(dense, *plans)] = tuned
    assert not any(dense) and plans and all(any(plan) for plan in plans)


@pytest.mark.slow
def test_networks_are_tuned_into_the_users_log(tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tune_networks, "TuningSettings", functools.partial(TuningSettings, trials=3))
    read = []
    timer = TimedModules(resolve("host").with_cores(1), Here())
    monkeypatch.setattr(timer, "read_records", lambda: read.append(True))
    onnx.save(classifier(), tmp_path / "net.onnx")
    network = load(tmp_path / "net.onnx").mod
    tune_networks.tune_networks([network], timer, lambda *_: None)
    trials = [line for path in user_folder().glob("*/trials/*.jsonl") for line in path.read_text().splitlines()]
    assert len(trials) == 3 and read == [True]


def test_a_timer_of_ones_own_can_t_tune():
    with pytest.raises(tenfold.TenfoldError, match="--tune needs a device that measures"):
        tune_networks.tune_networks([], ModelDevice(), lambda *_: None)


def test_tuning_needs_a_search(tiny_file, tmp_path):
    outcome = command("compress", tiny_file, "-o", tmp_path / "out", "--energy", "0.7", "--tune")
    assert outcome.code == 2 and "--tune is for the last plans of a search: give a budget too" in outcome.err
