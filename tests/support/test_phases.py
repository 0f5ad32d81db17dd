"""Seconds by phase: the inner phase's are not the outer one's."""
from __future__ import annotations

import pytest
from tenfold.support import phases
from tenfold.support.phases import phase, recording


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_each_phase_without_those_within_it(clock):
    with recording() as found:
        clock(1)
        with phase("outer"):
            clock(2)
            with phase("inner"):
                clock(4)
            clock(8)
        clock(16)
        with phase("inner"):
            clock(32)
    assert found.seconds == {"outer": 10, "inner": 36}


def test_an_exception_ends_a_phase(clock):
    with recording() as found:
        with pytest.raises(ValueError), phase("outer"), phase("inner"):
            clock(1)
            raise ValueError
        clock(2)
        with phase("outer"):
            clock(4)
    assert found.seconds == {"outer": 4, "inner": 1}


def test_where_nothing_is_recorded_nothing_is_counted(clock):
    with phase("alone"):
        clock(1)
    with recording() as found:
        pass
    assert found.seconds == {}
