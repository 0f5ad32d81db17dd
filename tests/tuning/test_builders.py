"""Processes that build: what they give, and what becomes of a candidate that crashes or hangs them."""
from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.isolated import Isolated
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve
from tenfold.tuning.builders import Builders
from tenfold.tuning.candidates import Candidate, Candidates
from tenfold.tuning.trial import measure
from tuner_fakes import conv_task

TASK = conv_task(16, 16, 6)


@pytest.fixture(scope="module")
def builders():
    with Builders(resolve("host"), 1) as made:
        yield made


@pytest.mark.slow
def test_candidates_are_built_and_measured_in_processes_of_their_own(builders, tmp_path):
    candidates = Candidates(TASK, resolve("host"))
    first, *others = [candidates.first, *candidates.propose(4)[1:]]
    built = builders.build(TASK, [first, *others], tmp_path)
    assert all(isinstance(program, Program) for program in built)
    with Isolated() as device:
        outcome = measure(device, built[0], list(zip(others, built[1:], strict=True)))
        assert set(outcome.ratios) == set(others) and not outcome.failed and 0 < outcome.ms < 1000


@pytest.mark.slow
def test_what_can_t_be_built_says_why_and_the_next_one_is_built(builders, tmp_path):
    candidates = Candidates(TASK, resolve("host"))
    bad = Candidate({**candidates.first.choices, str(TASK.layers[0].workload): {"algorithm": "none"}})
    words, program = builders.build(TASK, [bad, candidates.first], tmp_path)
    assert "the choice for conv2d" in words and isinstance(program, Program)


@pytest.mark.slow
def test_a_process_that_dies_costs_its_candidate(builders, tmp_path):
    first = Candidates(TASK, resolve("host")).first
    [worker] = builders._workers
    process = worker._started()
    killer = threading.Timer(0.05, os.kill, (process.pid, signal.SIGKILL))
    os.kill(process.pid, signal.SIGSTOP)  # so that it is killed at work
    killer.start()
    [words] = builders.build(TASK, [first], tmp_path / "a")
    assert words == "the compiler's process ended (signal 9)"
    [program] = builders.build(TASK, [first], tmp_path / "b")
    assert isinstance(program, Program)


@pytest.mark.slow
def test_a_process_that_hangs_is_ended(tmp_path):
    first = Candidates(TASK, resolve("host")).first
    with Builders(resolve("host"), 1, limit=0.3) as builders:
        [worker] = builders._workers
        os.kill(worker._started().pid, signal.SIGSTOP)
        begin = time.monotonic()
        [words] = builders.build(TASK, [first], tmp_path)
        assert words == "it takes more than 0.3 s to compile" and time.monotonic() - begin < 20


@pytest.mark.slow
def test_a_device_process_that_hangs_is_ended_and_serves_again(builders, tmp_path):
    [program] = builders.build(TASK, [Candidates(TASK, resolve("host")).first], tmp_path)
    with Isolated(limit=60) as device:
        handle = device.load(program)
        device._limit = 0.3
        os.kill(device._process.pid, signal.SIGSTOP)
        with pytest.raises(TenfoldError, match="device here: no answer within 0.3 s"):
            device.time(handle)
        device._limit = 60
        assert device.time(device.load(program))
