"""Times on a machine that is disturbed for a while."""
from __future__ import annotations

import itertools

import numpy as np
import pytest
from tenfold.search.timing import stopwatch
from tenfold.search.timing.stopwatch import Stopwatch


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(stopwatch, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(stopwatch, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(stopwatch, "WAIT_PER_MODULE", 0.0)


class Machine:
    """Runs at `speed` of its own, which changes with every burst as `speeds` says."""

    def __init__(self, speeds):
        self.speeds = iter(speeds)

    def burst(self, ms):
        return lambda: ms / next(self.speeds)


def test_a_quiet_machine():
    machine = Machine(itertools.repeat(1.0))
    times = Stopwatch(machine.burst(2.0)).time([machine.burst(1.0), machine.burst(3.0)])
    assert times.ms == (1.0, 3.0) and times.yardstick == 2.0


def test_rounds_are_held_against_their_own_yardstick():
    """Rounds a little slower each, yet quiet: as if all were at the speed of one."""
    speeds = itertools.chain([1.0] * 21, itertools.chain.from_iterable([speed] * 4 for speed in np.linspace(1.0, 0.9, 40)))
    machine = Machine(speeds)
    times = Stopwatch(machine.burst(2.0)).time([machine.burst(1.0), machine.burst(3.0)])
    assert times.at(2.0) == pytest.approx((1.0, 3.0))


def test_disturbed_rounds_do_not_count():
    speeds = itertools.chain([1.0] * 21, [0.5] * 40, itertools.repeat(1.0))
    machine = Machine(speeds)
    times = Stopwatch(machine.burst(2.0)).time([machine.burst(1.0), machine.burst(3.0)])
    assert times.ms == (1.0, 3.0) and times.yardstick == 2.0


def test_a_machine_that_stays_disturbed_is_scaled():
    machine = Machine(itertools.repeat(0.5))
    watch = Stopwatch(machine.burst(2.0), fastest=2.0)
    assert not watch.quiet()
    times = watch.time([machine.burst(1.0)])
    assert times.ms == pytest.approx((2.0,)) and times.yardstick == 4.0
    assert times.at(2.0) == pytest.approx((1.0,))


def test_a_faster_yardstick_is_believed():
    machine = Machine(itertools.repeat(1.0))
    assert Stopwatch(machine.burst(2.0), fastest=5.0).fastest == 2.0
