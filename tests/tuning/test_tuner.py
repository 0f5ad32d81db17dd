"""The loop: where trials go, when it ends, and what becomes of candidates and devices that fail. Machines are made up."""
from __future__ import annotations

import threading
import time
from math import inf

import pytest
from tenfold.schedules.backend import backend_of
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve
from tenfold.tuning.candidates import Candidate, Candidates
from tenfold.tuning.lanes import Lanes, Slot
from tenfold.tuning.state import TaskState
from tenfold.tuning.tuner import Limits, Tuner
from tuner_fakes import FakeBuilders, FakeDevice, chance, conv_task, rugged

TARGET = resolve("zen3")


class Session:
    """A tuner over made-up tasks, with everything that it was told."""

    def __init__(self, tmp_path, tasks=None, counts=None, limits=None, limit_ms=0.0):
        tasks = tasks or [conv_task()]
        counts = counts or [1] * len(tasks)
        self.states = [TaskState(task, count, Candidates(task, TARGET), limit_ms) for task, count in zip(tasks, counts, strict=True)]
        self.kept, self.better = [], []
        self.tuner = Tuner(self.states, limits or Limits(trials=48), tmp_path, lambda *trial: self.kept.append(trial), self.better.append)

    def run(self, devices, builders=None, join=None, lasting=False, overlaps=False, watch=lambda: None):
        slots = [Slot(lambda device=device: device, overlaps, lasting) for device in devices]
        return Lanes(self.tuner, builders or FakeBuilders(), slots, join).run(watch)


def test_it_ends_with_the_best_that_was_measured_and_never_with_less_than_the_models_choice(tmp_path):
    session = Session(tmp_path)
    session.run([FakeDevice(rugged)])
    [state] = session.states
    assert 24 <= state.trials == len(session.kept) <= 48
    tried = [candidate for _, candidate, _ in session.kept]
    assert len(set(tried)) == len(tried) and tried[0] == state.candidates.first
    true = {candidate: rugged(candidate.key) for candidate in tried}
    assert true[state.best] <= 1.02 * min(true.values())
    assert state.ms <= state.base_ms and session.better == [state] * len(session.better) and session.better


def test_where_the_models_choice_is_the_best_it_is_kept(tmp_path):
    session = Session(tmp_path)
    first = session.states[0].candidates.first.key
    session.run([FakeDevice(lambda key: 1.0 if key == first else 1.0 + chance(key) / 50, noise=0.02)])
    [state] = session.states
    assert state.best.key == first and state.ms == state.base_ms and not session.better


def test_noise_alone_gains_nothing(tmp_path):
    for seed in range(5):
        session = Session(tmp_path / str(seed))
        session.run([FakeDevice(lambda key: 1.0, noise=0.03, seed=seed)])
        assert session.states[0].gained_ms < 0.03


def test_trials_go_where_they_pay(tmp_path):
    tasks = [conv_task(32), conv_task(48)]
    session = Session(tmp_path, tasks, [20, 1], Limits(trials=80))
    session.run([FakeDevice(rugged)])
    often, once = session.states
    assert often.trials > 1.5 * once.trials > 0


def test_what_is_at_the_limit_is_left(tmp_path):
    session = Session(tmp_path, limit_ms=0.99)
    session.run([FakeDevice(lambda key: 1.0)])
    [state] = session.states
    assert "% of what the machine can do" in state.ended and state.trials <= 8


def test_a_limit_that_a_measurement_refutes_ends_nothing(tmp_path):
    session = Session(tmp_path, limit_ms=3.0)
    session.run([FakeDevice(rugged)])
    [state] = session.states
    assert state.share_of_limit == 0 and state.trials >= 24


def test_it_ends_where_no_gain_is_expected(tmp_path):
    session = Session(tmp_path, limits=Limits())
    session.run([FakeDevice(lambda key: 1.0)])
    assert session.states[0].ended and session.states[0].trials <= 64


def test_candidates_that_fail_cost_themselves_only(tmp_path):
    session = Session(tmp_path)
    session.run([FakeDevice(rugged, crashing=0.2, wrong=0.2)], FakeBuilders(broken=0.2))
    [state] = session.states
    failed = {candidate.key for _, candidate, ratio in session.kept if ratio is None}
    assert state.failed == len(failed) > 4
    for _, candidate, ratio in session.kept:
        if chance(f"broken {candidate.key}") < 0.2 or chance(f"crash {candidate.key}") < 0.2:
            assert ratio is None or candidate == state.candidates.first
    assert chance(f"wrong {state.best.key}") >= 0.2 or state.best == state.candidates.first
    assert state.ms < state.base_ms


def test_a_model_s_choice_that_can_t_be_built_ends_its_task_and_no_other(tmp_path):
    tasks = [conv_task(filters) for filters in (32, 48, 64, 80)]
    session = Session(tmp_path, tasks)
    first = session.states[0].candidates.first.key

    class Broken(FakeBuilders):
        def _program(self, key, folder):
            return "no" if key == first else super()._program(key, folder)

    session.run([FakeDevice(rugged)], Broken())
    assert session.states[0].ended == "it can't be built: no" and session.states[0].ms == inf
    assert all(state.ms < inf for state in session.states[1:])


def test_devices_that_die_are_opened_again_or_given_up(tmp_path):
    opened = []

    def open_one():
        opened.append(FakeDevice(rugged, dies_after=150))
        return opened[-1]

    session = Session(tmp_path)
    Lanes(session.tuner, FakeBuilders(), [Slot(open_one, lasting=True)]).run(lambda: None)
    assert session.tuner.trials >= 24 and len(opened) > 1 and all(device.closed for device in opened)


def test_without_any_device_the_reason_is_told(tmp_path):
    def open_none():
        raise TenfoldError("device board: no route to host")

    session = Session(tmp_path)
    with pytest.raises(TenfoldError, match="no route to host"):
        Lanes(session.tuner, FakeBuilders(), [Slot(open_none)]).run(lambda: None)


def test_one_of_two_devices_that_dies_leaves_the_work_to_the_other(tmp_path):
    session = Session(tmp_path, [conv_task(32), conv_task(48)])
    session.run([FakeDevice(rugged, dies_after=10), FakeDevice(rugged)], lasting=True)
    assert session.tuner.trials >= 40


@pytest.mark.quick(1)
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_all_devices_measure_at_once_and_together_no_more_than_was_asked_for(tmp_path, devices):
    busy, most, lock = 0, 0, threading.Lock()

    class Counted(FakeDevice):
        def time(self, handle, runs=None):
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            try:
                return super().time(handle, runs)
            finally:
                with lock:
                    busy -= 1

    session = Session(tmp_path, [conv_task(filters) for filters in (32, 48, 64, 80)], limits=Limits(trials=70))
    session.run([Counted(rugged, 0.002, seed=seed) for seed in range(devices)], overlaps=True)
    assert session.tuner.made == 70 and most == devices


def test_devices_that_come_later_join(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.tuning.lanes.LOOK", 0.05)
    more = [FakeDevice(rugged, 0.0005) for _ in range(2)]
    waiting = list(more)
    session = Session(tmp_path, [conv_task(filters) for filters in (32, 48, 64, 80)], limits=Limits(trials=160))
    session.run([FakeDevice(rugged, 0.0005)], join=(lambda: 3, lambda: Slot(lambda: waiting.pop())))
    assert all(device.count for device in more)


def test_an_interrupt_ends_after_the_batches_under_way(tmp_path):
    session = Session(tmp_path)
    count = 0

    def watch():
        nonlocal count
        count += 1
        if session.tuner.trials and not session.tuner.stopping:
            raise KeyboardInterrupt

    assert session.run([FakeDevice(rugged, 0.001)], watch=watch)
    assert 0 < session.tuner.trials < 48 and session.states[0].ms < inf


def test_time_is_a_limit(tmp_path):
    session = Session(tmp_path, limits=Limits(seconds=0.2))
    begin = time.monotonic()
    session.run([FakeDevice(rugged, 0.005)])
    assert time.monotonic() - begin < 5 and session.tuner.trials < 64


def test_building_and_measuring_overlap_for_devices_elsewhere_and_one_thread_measures_at_a_time(tmp_path):
    seen = set()

    class Watched(FakeBuilders):
        def build(self, task, candidates, folder):
            seen.add(threading.current_thread().name)
            return super().build(task, candidates, folder)

    session = Session(tmp_path, [conv_task(filters) for filters in (32, 48, 64)])
    session.run([FakeDevice(rugged, 0.001)], Watched(0.001), overlaps=True)
    assert len(seen) == 2


def test_candidates_are_equal_by_what_they_are_built_from():
    task = conv_task()
    candidates = Candidates(task, TARGET)
    assert Candidate({"a": {"stage": (1, 2)}}) == Candidate({"a": {"stage": [1, 2]}})
    found = [candidates.first]
    while new := candidates.propose(7):
        found += new
        for each in new:
            candidates.learn(each, 1.0)
        if len(found) > 100:
            break
    assert len({each.key for each in found[1:]}) == len(found) - 1
    backend = backend_of(TARGET)
    assert all(any(way.owns(each) for way in candidates.ways) for each in found) and backend.target is TARGET


def test_candidates_that_are_given_back_come_again():
    candidates = Candidates(conv_task(), TARGET)
    candidates.learn(candidates.first, 1.0)
    first = candidates.propose(8)
    candidates.give_back(first)
    again = candidates.propose(200)
    assert {each.key for each in first} <= {each.key for each in again}
