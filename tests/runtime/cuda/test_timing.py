"""Times by the clock of a GPU: what is put between the marks. The stand-in's clock is that of the CPU."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tenfold
from cuda_standin import StandIn
from tenfold.runtime.cuda import timing


@pytest.fixture
def machine(standin: StandIn, gpu_artifact: Path):
    standin.gpu()
    standin.knows(gpu_artifact)
    return tenfold.load(gpu_artifact).machine


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")


@pytest.mark.parametrize("cold", [False, True])
def test_a_network(standin: StandIn, machine, x: np.ndarray, cold: bool):
    standin.launched.clear()
    times = timing.time_network(machine, [x], 2, cold=cold)
    assert len(standin.launched) == (timing.WARM_UP + 2) * len(machine.steps)
    assert len(times.kernels) == len(times.calls) == 2
    assert all(0 < kernels < call for kernels, call in zip(times.kernels, times.calls, strict=True))


def test_steps(standin: StandIn, machine, x: np.ndarray):
    expected = machine([x])[0]
    times = timing.time_steps(machine, [x], 2)
    assert [len(run) for run in times] == 2 * [len(machine.steps)]
    assert min(map(min, times)) > 0
    np.testing.assert_array_equal(machine([x])[0], expected)


def test_marks_and_the_buffer_that_flushes_are_given_back(standin: StandIn, machine, x: np.ndarray):
    before = standin.counts
    timing.time_network(machine, [x], 1, cold=True)
    assert standin.counts == before


def test_before_a_run_with_a_cold_cache_a_larger_buffer_is_written(machine, x: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    filled = []
    fill = timing.Stream.fill
    monkeypatch.setattr(timing.Stream, "fill", lambda self, memory, byte=0: (filled.append(memory.size), fill(self, memory, byte)))
    timing.time_network(machine, [x], 1)
    assert not filled
    timing.time_network(machine, [x], 1, cold=True)
    assert len(filled) == timing.WARM_UP + 1 and min(filled) >= 2 * machine.gpu.l2_bytes
