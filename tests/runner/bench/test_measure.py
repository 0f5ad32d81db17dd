"""Fair timing, without looking at the times themselves."""
from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from tenfold.runner.bench import measure as module
from tenfold.runner.bench.measure import WARM_UP_RUNS, Elsewhere, Latency, measure, wait_until_quiet, warm_up
from tenfold.runner.bench.peak_memory import peak_bytes


def test_latency_is_in_milliseconds():
    seconds = [0.001 * i for i in range(1, 101)]
    assert Latency.of([seconds]) == Latency(pytest.approx(50.5), pytest.approx(np.percentile(range(1, 101), 90)), pytest.approx(1.0), 100)
    assert Latency.of([seconds[:30], seconds[30:]]) == replace(Latency.of([seconds]), spread=pytest.approx(0.8 * 50 / 40.5))


def test_the_spread_is_that_of_the_medians_of_rounds():
    assert Latency.of([[1, 9], [2, 8], [3, 7, 5]]).spread == 0
    assert Latency.of([[value] for value in range(1, 12)]).spread == pytest.approx((10 - 2) / 6)


def test_what_is_timed_elsewhere_counts_as_it_was_timed_there(monkeypatch):
    def here(candidate):
        raise AssertionError("nothing is called here")

    monkeypatch.setattr(module, "warm_up", here)
    asked = []
    (latency,) = measure([Elsewhere(lambda runs: asked.append(runs) or [2.0, 4.0, 3.0][:runs])], 7, 3)
    assert asked == [3, 2, 2]
    assert latency == Latency.of([[0.002, 0.004, 0.003], [0.002, 0.004], [0.002, 0.004]]) and latency.median == pytest.approx(3)


@pytest.mark.parametrize(("runs", "rounds"), [(1, 10), (7, 3), (10, 10), (23, 4)])
def test_every_candidate_is_timed_as_often_as_asked_for(monkeypatch, runs, rounds):
    monkeypatch.setattr(module, "wait_until_quiet", lambda: None)
    monkeypatch.setattr(module, "warm_up", lambda candidate: None)
    calls = {"a": 0, "b": 0}

    def call(name):
        calls[name] += 1

    latencies = measure([lambda: call("a"), lambda: call("b")], runs, rounds)
    assert [latency.runs for latency in latencies] == [runs, runs]
    assert calls == {"a": runs, "b": runs}


def test_rounds_are_interleaved_and_turned_round(monkeypatch):
    monkeypatch.setattr(module, "wait_until_quiet", lambda: order.append("quiet"))
    monkeypatch.setattr(module, "warm_up", lambda candidate: order.append("warm"))
    order: list[str] = []
    measure([lambda: order.append("a"), lambda: order.append("b")], runs=4, rounds=2)
    before = ["quiet", "warm"]
    assert order == [*before, "a", "a", *before, "b", "b", *before, "b", "b", *before, "a", "a"]


def test_progress_counts_bursts(monkeypatch):
    monkeypatch.setattr(module, "wait_until_quiet", lambda: None)
    seen = []
    measure([time.time, time.time], runs=3, rounds=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_warming_up_runs_several_times():
    calls = []
    warm_up(lambda: calls.append(time.sleep(0.05)))
    assert len(calls) == WARM_UP_RUNS


def test_warming_up_ends_after_one_slow_run(monkeypatch):
    clock, calls = Clock(0.0), []
    monkeypatch.setattr(module, "time", clock)
    warm_up(lambda: calls.append(clock.sleep(1.5)))
    assert len(calls) == 1


class Clock:
    """Stands in for the module `time`: other threads use one CPU until `busy_until`."""

    def __init__(self, busy_until):
        self.now, self.busy_until = 0.0, busy_until

    def perf_counter(self):
        return self.now

    def process_time(self):
        return min(self.now, self.busy_until)

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(("busy", "until"), [(0.0, 0.02), (0.1, 0.12), (60.0, 1.0)])
def test_threads_that_spin_are_waited_for_but_not_for_ever(monkeypatch, busy, until):
    clock = Clock(busy)
    monkeypatch.setattr(module, "time", clock)
    wait_until_quiet()
    assert clock.now == pytest.approx(until, abs=0.011)


def test_peak_memory_counts_the_network_and_not_the_libraries(tiny_artifact, tiny_file, image):
    for engine, path in (("tenfold", tiny_artifact), ("onnxruntime", tiny_file)):
        peak = peak_bytes(engine, path, {"image": image}, 1)
        assert peak is not None and 0 < peak < 60e6, engine


def test_peak_memory_sees_a_large_input(tiny_file, tmp_path):
    """ONNX Runtime on 64 MB of input needs more than these, and the child says so in bytes."""
    import onnx
    from onnx import helper

    shape = [1, 16, 1024, 1024]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Sqrt", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "big.onnx")
    peak = peak_bytes("onnxruntime", tmp_path / "big.onnx", {"x": np.ones(shape, "float32")}, 1)
    assert 64e6 <= peak < 400e6


def test_peak_memory_of_what_fails_is_unknown(tmp_path):
    assert peak_bytes("tenfold", tmp_path, {"x": np.ones(1)}, 1) is None


def test_the_module_prints_bytes_only(tiny_artifact, image, tmp_path):
    np.savez(tmp_path / "x.npz", image=image)
    command = [sys.executable, "-m", "tenfold.runner.bench.peak_memory", "tenfold", str(tiny_artifact), str(tmp_path / "x.npz"), "1"]
    assert json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) > 0
