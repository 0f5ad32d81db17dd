"""Whether a machine was disturbed while it measured: counters and clocks are made up here, so that nothing depends on this machine."""
from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat

import pytest
from tenfold.runner.bench import disturbance
from tenfold.runner.bench import measure as module
from tenfold.runner.bench.disturbance import TICKS, Load, Usage, Watch, parse_stat, usage
from tenfold.runner.bench.measure import AGREE, FEWEST_ROUNDS, Latency, Measurement, observe

STAT = """cpu  1000 20 300 5000 60 7 8 90 500 0
cpu0 400 10 100 2500 30 3 4 40 250 0
cpu1 600 10 200 2500 30 4 4 50 250 0
cpu10 1 1 1 1 1 1 1 1 1 1
intr 12345 0 0
"""
QUIET = Load(1.0, 2, 0.01, 0.0, 3.0)


def test_busy_and_stolen_seconds_of_the_cpus_that_count():
    assert parse_stat(STAT, {0, 1}) == ((1000 + 20 + 300 + 7 + 8 + 90) / TICKS, 90 / TICKS)
    assert parse_stat(STAT, {0}) == ((400 + 10 + 100 + 3 + 4 + 40) / TICKS, 40 / TICKS)
    assert parse_stat("cpu0 1 2 3 4 5\n", {0}) == (6 / TICKS, 0)  # an old kernel
    for text in ("", "cpu  1 2 3 4 5 6 7 8\n", "cpu0 a b\n"):
        with pytest.raises(ValueError):
            parse_stat(text, {0})


def test_others_are_who_is_busy_less_this_process():
    load = Load.between(Usage(10.0, 100.0, 5.0, 7.0, 40), Usage(12.0, 103.0, 5.5, 8.0, 50), 2)
    assert load == Load(2.0, 2, 1.0, 0.25, 5.0)
    assert not load.quiet and str(load) == "others took 1 of 2 CPUs, 0.25 of them outside this virtual machine"
    own = Load.between(Usage(0, 0.0, 0.0, 0.0, 0), Usage(1.0, 1.98, 0.0, 2.0, 0), 2)  # ticks are coarser than own times
    assert own.others == 0 and own.quiet and str(own) == "others took 0 of 2 CPUs"


def test_a_little_of_many_cpus_is_quiet():
    assert Load(1.0, 64, 1.0, 0.0, 0.0).quiet and not Load(1.0, 4, 1.0, 0.0, 0.0).quiet


def test_a_system_that_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(disturbance, "STAT", tmp_path / "none")
    watch = Watch()
    assert watch.load().others is watch.load().stolen is None and watch.load().quiet
    assert str(watch.load()) == "what others took of the CPUs is not known"


def test_the_counters_of_this_machine_only_grow():
    first = usage()
    sum(range(100_000))
    second = usage()
    assert second.clock > first.clock and second.own >= first.own and second.switches >= first.switches
    assert first.busy is None or second.busy >= first.busy >= first.stolen >= 0


def test_a_watch_counts_from_where_it_is_made():
    readings = iter([Usage(0.0, 10.0, 0.0, 1.0, 0), Usage(2.0, 13.0, 0.0, 2.0, 8)])
    load = Watch(lambda: next(readings)).load()
    assert (load.seconds, load.others, load.switches) == (2.0, 1.0, 4.0)


FINE = Latency(1.0, 1.1, 0.9, 50, 0.02)
SIGNS = [
    (FINE, QUIET, None, None),
    (FINE, Load(1.0, 2, 1.5, 0.0, 3.0), None, "the machine was disturbed: others took 1.5 of 2 CPUs"),
    (replace(FINE, min=0.2), QUIET, None, "the machine was disturbed: a median is 5.0 times the fastest run"),
    (replace(FINE, p90=3.0), QUIET, None, "the machine was disturbed: a tenth of the runs takes 3.0 times the median or longer"),
    (replace(FINE, spread=0.5), QUIET, None, "the machine was disturbed: medians of rounds lie 50% apart"),
    (FINE, QUIET, True, None),
    (replace(FINE, spread=0.08), QUIET, False, "the machine never became stable: medians of rounds lie 8% apart"),
]


@pytest.mark.parametrize(("latency", "load", "stable", "warning"), SIGNS)
def test_what_there_is_to_warn_of(latency, load, stable, warning):
    assert Measurement([FINE, latency], load, stable).warning == warning


class Machine:
    """A clock that only candidates move, whose speed changes from round to round, and what others take meanwhile."""

    def __init__(self, monkeypatch, slowness, others=()):
        self.now, self.busy, self.own = 0.0, 0.0, 0.0
        self._slowness, self._others = iter(slowness), chain(others, repeat(0.0))
        monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(module, "wait_until_quiet", lambda: None)
        monkeypatch.setattr(module, "warm_up", lambda candidate: None)
        monkeypatch.setattr(module, "cpus", lambda: {0, 1})
        self._slow = 1.0

    def perf_counter(self):
        return self.now

    def read(self):
        """Called between rounds."""
        self._slow = next(self._slowness)
        reading = Usage(self.now, self.busy, 0.0, self.own, 0)
        self._share = next(self._others)
        return reading

    def candidate(self, seconds):
        def call():
            self.now += seconds * self._slow
            self.own += seconds * self._slow
            self.busy += seconds * self._slow * (1 + self._share)

        return call


def test_without_waiting_there_are_as_many_rounds_as_asked_for(monkeypatch):
    machine = Machine(monkeypatch, repeat(1.0), repeat(0.5))
    result = observe([machine.candidate(1.0), machine.candidate(2.0)], 20, 10, read=machine.read)
    assert [(each.median, each.runs) for each in result.latencies] == [(1e3, 20), (2e3, 20)]
    assert result.stable is None and result.load.others == pytest.approx(0.5) and result.load.seconds == pytest.approx(60)
    assert result.disturbance["warning"] == "the machine was disturbed: others took 0.5 of 2 CPUs" and result.disturbance["cpus"] == 2


def test_rounds_go_on_until_they_agree(monkeypatch):
    machine = Machine(monkeypatch, chain([5.0, 1.0, 3.0, 1.0, 2.0, 4.0], repeat(1.0)))
    result = observe([machine.candidate(1.0)], 20, 10, until_stable=1e6, read=machine.read)
    assert result.stable and result.warning is None
    assert result.latencies[0] == Latency(1e3, 1e3, 1e3, 20, pytest.approx(0, abs=AGREE))
    assert machine.now < 6 * 10 + 2 * 2 * 16


def test_rounds_go_on_while_others_take_cpus(monkeypatch):
    machine = Machine(monkeypatch, repeat(1.0), repeat(1.0, 25))
    result = observe([machine.candidate(1.0)], 10, 10, until_stable=1e6, read=machine.read)
    assert result.stable and result.load.others <= 0.1
    assert 33 <= machine.now <= 36  # most of the last ten rounds are after those of the others


def test_a_machine_that_never_becomes_stable(monkeypatch):
    machine = Machine(monkeypatch, chain([1.0, 3.0] * 8, [1.0, 1.2] * 5, [1.0, 3.0] * 1000))
    result = observe([machine.candidate(1.0)], 10, 10, until_stable=200.0, read=machine.read)
    assert result.stable is False and result.warning.startswith("the machine never became stable: medians of rounds lie 1")
    assert result.latencies[0].p90 == pytest.approx(1200)  # of the rounds that agreed most
    assert 200 <= machine.now < 210


def test_few_runs_are_enough_rounds_to_agree(monkeypatch):
    machine = Machine(monkeypatch, repeat(1.0))
    result = observe([machine.candidate(1.0)], 1, 10, until_stable=1e6, read=machine.read)
    assert result.stable and result.latencies[0].runs == FEWEST_ROUNDS
