"""`tenfold tune` from end to end: on this machine, stopped and taken up again, on modelled CPUs, and what it says of mistakes."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from math import inf

import onnx
import pytest
import tenfold
from command_checks import tenfold as command
from conftest import tiny_network
from tenfold.passes.inventory import inventory
from tenfold.runner.tuning_records.tune_log import TuneLog
from tenfold.targets import resolve
from tenfold.tuning.candidates import Candidates
from tenfold.tuning.engines import Engine
from tenfold.tuning.journal import TRIALS, Journal, changed, name_of
from tenfold.tuning.start import states_of, tasks_of, taught
from tenfold.tuning.state import TaskState
from tenfold.tuning.tune import TuningSettings
from tuner_fakes import conv_task, rugged


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A network that was tuned, and where."""
    folder = tmp_path_factory.mktemp("tune")
    onnx.save(tiny_network(32), folder / "net.onnx")
    tuning = tenfold.tune(folder / "net.onnx", log=folder / "log", settings=TuningSettings(trials=12))
    return folder, tuning


@pytest.mark.slow
def test_a_network_is_tuned_and_never_gets_slower(session):
    folder, tuning = session
    content = json.loads(json.dumps(tuning.to_json()))
    assert 2 <= content["trials"] <= 12 and content["device"] == "here" and not content["interrupted"]
    assert sum(kernel["trials"] for kernel in content["kernels"]) == content["trials"]
    for kernel in content["kernels"]:
        assert 0 < kernel["best_ms"] <= kernel["model_ms"]
    network = content["network"]
    assert network["after_ms"] <= 1.01 * network["before_ms"]


@pytest.mark.slow
def test_the_same_call_again_goes_on(session):
    folder, tuning = session
    again = tenfold.tune(folder / "net.onnx", log=folder / "log", settings=TuningSettings(trials=4))
    assert again.earlier == tuning.trials and again.trials <= 4
    seen = [line["choices"] for line in map(json.loads, _trials(folder / "log").read_text().splitlines())]
    assert len({json.dumps(each, sort_keys=True) for each in seen}) == len(seen)  # nothing was measured twice


@pytest.mark.slow
def test_what_is_found_is_what_compile_takes(session):
    folder, _ = session
    target = resolve("host")
    kept = TuneLog(folder / "log", target).best()
    artifact = tenfold.compile(folder / "net.onnx", tune_log=folder / "log")
    for workload, record in kept.items():
        if workload in artifact.manifest.choices:
            assert artifact.manifest.choices[workload] == record.choice


@pytest.mark.slow
def test_a_tuner_that_is_killed_loses_no_trial(tmp_path):
    onnx.save(tiny_network(48), tmp_path / "net.onnx")
    arguments = [sys.executable, "-m", "tenfold", "tune", "net.onnx", "--log", "log", "-q"]
    child = subprocess.Popen([*arguments, "--trials", "60"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             start_new_session=True)
    end = time.monotonic() + 100
    while not list(tmp_path.glob(f"log/*/{TRIALS}/*.jsonl")) and child.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    before = len(_trials(tmp_path / "log").read_bytes().split(b"\n")) - 1
    assert before >= 1
    done = subprocess.run([*arguments, "--trials", "3", "--json", "out.json"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["earlier_trials"] == before and content["trials"] <= 3


@pytest.mark.slow
def test_ctrl_c_ends_after_the_batch_and_tells_what_was_gained(tmp_path):
    onnx.save(tiny_network(40), tmp_path / "net.onnx")
    child = subprocess.Popen([sys.executable, "-m", "tenfold", "tune", "net.onnx", "--log", "log", "--json", "out.json"], cwd=tmp_path,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 100
    while not list(tmp_path.glob(f"log/*/{TRIALS}/*.jsonl")) and child.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=100)
    if child.returncode != 0:  # it was done before the signal came
        assert child.returncode == 130 and "stopped before its end" in out
        assert json.loads((tmp_path / "out.json").read_text())["interrupted"]


def test_what_can_t_be_tuned_is_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny_network(), tmp_path / "net.onnx")
    for words, said in [
        ((), "give one network to tune"),
        (("a.onnx", "b.onnx"), "give one network to tune, not 2: a.onnx b.onnx"),
        (("none.onnx",), "none.onnx"),
        (("net.onnx", "--minutes", "0"), "minutes must be more than 0, not 0"),
        (("net.onnx", "--trials", "0"), "--trials"),
        (("net.onnx", "-o", "x"), "-o is the folder that --merge writes"),
        (("net.onnx", "--merge", "--show"), "--merge and --show are two things"),
        (("--merge", "a.jsonl"), "name the logs to merge, and the folder to write"),
        (("net.onnx", "--device", "emulated"), "times under emulation say nothing"),
        (("net.onnx", "--plot", "x.gif"), "x.gif"),
        (("net.onnx", "--device", "127.0.0.1:1"), "127.0.0.1:1"),
        (("net.onnx", "--target", "sm_80"), "sm_80"),
        (("--show", "nowhere"), "there is no such folder"),
    ]:
        outcome = command("tune", *words)
        assert outcome.code == 2 and outcome.complaint is None, (words, outcome)
        assert said in outcome.err, (words, outcome.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]


def _trials(log):
    [path] = log.glob(f"*/{TRIALS}/*.jsonl")
    return path


def a_state(count=1) -> TaskState:
    task = conv_task()
    return TaskState(task, count, Candidates(task, resolve("zen3")), 0.0)


def test_a_journal_gives_back_what_it_was_told(tmp_path):
    log = TuneLog(tmp_path, resolve("zen3"))
    journal, state = Journal(log), a_state()
    state.base_ms = 2.0
    state.measured(state.candidates.first, 2.0)
    journal.keep(state, state.candidates.first, 1.0)
    candidates = state.candidates.propose(9)
    for number, candidate in enumerate(candidates):
        ratio = None if number == 3 else rugged(candidate.key) - 0.5
        state.measured(candidate, None if ratio is None else 2.0 * ratio)
        journal.keep(state, candidate, ratio)
    again = a_state()
    assert Journal(log).restore({name_of(again.task): again}) == 1 + len(candidates)
    assert again.trials == state.trials and again.failed == 1 and again.best == state.best
    assert again.base_ms == 2.0 and again.ms == pytest.approx(state.ms, rel=1e-4)
    assert not {each.key for each in again.candidates.propose(50)} & {each.key for each in candidates}


def test_trials_of_other_code_and_lines_that_are_none_are_passed_over(tmp_path):
    log = TuneLog(tmp_path, resolve("zen3"))
    journal, state = Journal(log), a_state()
    state.base_ms = 1.0
    journal.keep(state, state.candidates.first, 1.0)
    path = _trials(tmp_path)
    good = json.loads(path.read_text())
    lines = [{**good, "code": "other"}, {**good, "ratio": -1}, {**good, "base_ms": "x"}, {**good, "choices": [1]}, [], {"task": 1}]
    path.write_text("\n".join([*map(json.dumps, lines), "torn {", json.dumps(good)]) + "\n")
    again = a_state()
    assert Journal(log).restore({name_of(again.task): again}) == 1


def test_a_record_is_written_for_what_is_better_and_void_when_it_is_withdrawn(tmp_path):
    target = resolve("zen3")
    log = TuneLog(tmp_path, target)
    journal, state = Journal(log), a_state()
    state.base_ms = 1.0
    state.measured(state.candidates.first, 1.0)
    journal.record(state)
    assert not log.best()
    faster = state.candidates.propose(9)[-1]
    state.measured(faster, 0.8)
    journal.record(state)
    assert {workload: dict(record.choice) for workload, record in TuneLog(tmp_path, target).best().items()} \
        == {workload: json.loads(json.dumps(point)) for workload, point in changed(state, faster).items()}
    journal.withdraw(state)
    assert not TuneLog(tmp_path, target).best()


def test_tasks_of_a_network_have_each_layer_and_a_teacher_learns_from_records(tmp_path):
    from tenfold.frontends import load

    target = resolve("zen3")
    network = load(tiny_network(32))
    tasks = tasks_of(network.mod, target)
    assert sum(len([layer for layer in task.layers if not getattr(layer.workload, "pools", False)]) * count
               for task, count in tasks.items()) == len(inventory(network.mod))
    log = TuneLog(tmp_path, target)
    states = states_of(tasks, target, Engine())
    assert all(state.limit_ms > 0 and state.base_ms == inf for state in states.values())
    assert taught(log, target, 0) is None
    journal = Journal(log)
    for filters in (16, 24, 32, 48, 64, 96):
        task = conv_task(filters)
        state = TaskState(task, 1, Candidates(task, target), 0.0)
        state.base_ms = 1.0
        state.measured(state.candidates.first, 1.0)
        state.measured(state.candidates.propose(6)[-1], 0.7)
        journal.record(state)
    teacher = taught(TuneLog(tmp_path, target), target, 0)
    assert teacher is not None and teacher.trained
