"""Devices out of a fleet, with TVM's own tracker: who gets which, and who waits."""
from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading

import numpy as np
import onnxruntime
import pytest
import tenfold
from device_checks import COMMAND, SECONDS
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.artifacts import load_on
from tenfold.runner.devices.choose import device_of
from tenfold.runner.devices.connect import Busy
from tenfold.runner.devices.session import Session
from tenfold.search.settings import Settings
from tenfold.search.timing.timer import open_timer
from tracker_checks import Waiting, device, running_tracker, spec_of, wait_until

BEGIN, END = "session with 127.0.0.1", "session ended"


@pytest.mark.slow
def test_each_client_gets_a_device_of_its_own(two, tracker):
    spec = spec_of(tracker)
    with device_of(spec) as first, device_of(spec) as second:
        assert {first.name, second.name} == {server.address for server in two}
        third = Waiting(spec).waits()
        wait_until(lambda: all(member.user for member in tracker.members()))
        wait_until(lambda: third.said[-1].startswith("waiting for a device: all 2 devices of rpi are taken (127.0.0.1:"))
        first.close()
        assert third.end().device.name == first.name
        third.device.close()
    wait_until(lambda: tracker.free() == 2)


def test_a_compiled_network_names_the_device_that_it_ran_on(lone, tracker, tiny_file, tmp_path, image):
    net = tenfold.compile(tiny_file, output=tmp_path / "out", device=spec_of(tracker, "lone"))
    assert net.manifest.verification["device"].startswith(f"{lone.address}, ")
    assert [lone.line(), lone.line()] == [BEGIN, END]
    expected = onnxruntime.InferenceSession(tiny_file).run(None, {"image": image})[0]
    with device_of(spec_of(tracker, "lone")) as found:
        np.testing.assert_allclose(load_on(found, tmp_path / "out")(image), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_search_is_timed_there(lone, tracker):
    with open_timer(spec_of(tracker, "lone"), None, Settings(threads=1, silence=5)) as (target, timer):
        assert isinstance(timer, TimedModules) and timer.device.name == lone.address and target.cores == 1
    assert [lone.line(), lone.line()] == [BEGIN, END]


@pytest.mark.slow
def test_every_command_takes_one(two, tracker, tiny_file, tmp_path, image):
    np.save(tmp_path / "x.npy", image)
    there = "--device", spec_of(tracker)
    for words in (
        ("compile", tiny_file, "-o", tmp_path / "out"),
        ("verify", tmp_path / "out"),
        ("run", tmp_path / "out", "--input", tmp_path / "x.npy"),
        ("bench", tmp_path / "out", "--runs", 5),
    ):
        command = [sys.executable, "-c", COMMAND, *map(str, words), *there]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5 * SECONDS)
        assert done.returncode == 0, done.stderr
    wait_until(lambda: tracker.free() == 2)


def test_two_clients_compete_for_one_device(lone, tracker):
    spec, holders, most = spec_of(tracker, "lone"), [], []

    def use():
        for _ in range(5):
            with device_of(spec) as found:
                holders.append(found)
                most.append(len(holders))
                found.session.ask("describe")
                holders.pop()

    clients = [threading.Thread(target=use, daemon=True) for _ in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(SECONDS)
    assert most == [1] * 10
    assert [lone.line() for _ in range(20)] == [BEGIN, END] * 10
    wait_until(lambda: tracker.free("lone") == 1)


def test_a_client_that_does_not_ask_the_tracker_competes(lone, tracker):
    """Whoever is first has the device; the other one waits, or is told."""
    spec, served = spec_of(tracker, "lone"), [0, 0]
    stop = threading.Event()

    def ask_directly():
        while not stop.is_set():
            with contextlib.suppress(Busy), device_of(lone.address) as found:
                found.session.ask("describe")
                served[1] += 1

    direct = threading.Thread(target=ask_directly, daemon=True)
    direct.start()
    wait_until(lambda: served[1])
    for _ in range(5):
        with device_of(spec) as found:
            found.session.ask("describe")
            served[0] += 1
    stop.set()
    direct.join(SECONDS)
    assert served[0] == 5 and not direct.is_alive()
    wait_until(lambda: tracker.free("lone") == 1)
    lines = [lone.line() for _ in range(2 * sum(served))]
    assert lines == [BEGIN, END] * sum(served)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_can_be_stopped(lone, tracker, tiny_artifact, tmp_path, image, number):
    np.save(tmp_path / "x.npy", image)
    words = ["run", tiny_artifact, "--input", tmp_path / "x.npy", "--device", spec_of(tracker, "lone"), "-v"]
    session = Session(lone.address)
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *map(str, words)], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "waiting for a device: the only device of lone is taken" in line:
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 128 + number and "stopped while waiting for a device" in err
    finally:
        process.kill()
    session.close()
    wait_until(lambda: tracker.free("lone") == 1)
    device_of(spec_of(tracker, "lone")).close()


@pytest.mark.slow
def test_a_tracker_that_is_started_again_while_a_client_waits():
    with running_tracker() as tracker, device(tracker, "c++") as server:
        user = device_of(spec_of(tracker))
        waiting = Waiting(spec_of(tracker), silence=SECONDS).waits()
        tracker.stop()
        wait_until(lambda: waiting.said[-1] == "waiting for the tracker, which is gone")
        tracker.start()
        user.close()
        assert waiting.end().device is not None and waiting.device.name == server.address
