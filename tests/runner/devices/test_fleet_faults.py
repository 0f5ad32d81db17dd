"""A fleet whose devices and tracker die at random: whoever uses a device gets a result or an error, and all are free at the end."""
from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
import tenfold
from device_checks import SECONDS
from device_server_checks import serving
from tenfold.runner.devices.artifacts import load_on
from tenfold.runner.devices.choose import device_of
from tenfold.runner.devices.emulated import emulator_for
from tenfold.runner.devices.native import SERVER, device_program, library_root
from tenfold.support.errors import TenfoldError
from tracker_checks import RpcTracker, device, joining, registered, running_tracker, wait_until


class Clients:
    """Clients in threads, each of which takes a device, runs a network there and gives it back, until they are told to stop."""

    def __init__(self, count, spec, artifact, image):
        self.results, self.errors, self._stop = [], [], threading.Event()
        self._work = spec, artifact, image
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        spec, artifact, image = self._work
        while not self._stop.is_set():
            try:
                with device_of(spec, silence=4) as found:
                    network = load_on(found, artifact)
                    for _ in range(20):
                        self.results.append(network(image))
                        time.sleep(0.02)  # so that most strikes hit a session
            except TenfoldError as error:
                self.errors.append(str(error))

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()


class Fleet:
    """Devices that are killed, each with another one in its place."""

    def __init__(self, tracker: RpcTracker, kinds, rng: random.Random, stack: ExitStack) -> None:
        self._tracker, self._rng, self._stack = tracker, rng, stack
        self._devices = [[kind, self._started(kind)] for kind in kinds]

    def _started(self, kind):
        return self._stack.enter_context(device(self._tracker, kind, "--silence", "2"))

    def strike(self):
        """Kill a device or its session, or stop a session for good."""
        place = self._rng.choice(self._devices)
        kind, server = place
        what = self._rng.choice(["session", "session", "device"] if kind == "python" else ["device", "session", "hang"])
        if what == "device":
            server.process.kill()
            place[1] = self._started(kind)
            return
        try:
            os.kill(server.session(), signal.SIGKILL if what == "session" else signal.SIGSTOP)
        except (ValueError, ProcessLookupError):  # it has none just now
            pass


def struck(tracker, kinds, seed, artifact, image, again=False):
    """Clients and a fleet, struck several times; what came of it."""
    expected = tenfold.load(artifact)(image)
    rng = random.Random(seed)
    with ExitStack() as stack:
        fleet = Fleet(tracker, kinds, rng, stack)
        clients = Clients(3, str(tracker.place()), artifact, image)
        for number in range(10):
            time.sleep(rng.uniform(0.05, 0.6))
            fleet.strike()
            if again and number == 4:
                tracker.stop()
                tracker.start()
        done = len(clients.results)
        wait_until(lambda: len(clients.results) > done)  # it goes on
        clients.end()
        wait_until(lambda: tracker.free() == len(kinds) == len(tracker.members()))
        for result in clients.results:
            np.testing.assert_array_equal(result, expected)
        assert clients.errors and all(error.startswith("device ") for error in clients.errors)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_devices_that_die_at_random(tracker, seed, tiny_artifact, image):
    struck(tracker, ("c++", "c++"), seed, tiny_artifact, image)


@pytest.mark.slow
def test_devices_of_both_kinds_and_a_tracker_that_is_started_again(tiny_artifact, image):
    with running_tracker() as tracker:
        struck(tracker, ("python", "c++"), 7, tiny_artifact, image, again=True)


@pytest.mark.slow
def test_a_board_under_emulation_is_one_of_a_fleet(tracker, tiny_file, tmp_path, image):
    emulator = emulator_for("aarch64")
    if emulator is None:
        pytest.skip("qemu-aarch64 is not installed (package qemu-user)")
    try:
        program = device_program("aarch64", kind=SERVER)
    except TenfoldError as error:
        pytest.skip(str(error))
    command = [emulator, "-cpu", "cortex-a72", "-L", str(library_root("aarch64")), str(program)]
    with serving(*joining(tracker, "board"), program=command) as board:
        assert board.line() == registered(tracker, "board")
        spec = str(tracker.place("board"))
        net = tenfold.compile(tiny_file, output=tmp_path / "out", device=spec)
        assert net.manifest.verification["device"].startswith(board.address) and net.manifest.target["tvm"]["mcpu"] == "cortex-a72"
        wait_until(lambda: tracker.free("board") == 1)
        with device_of(spec) as found:
            os.kill(board.session(), signal.SIGKILL)
            with pytest.raises(TenfoldError, match="the session has ended"):
                load_on(found, tmp_path / "out")
        wait_until(lambda: tracker.free("board") == 1)
        board.process.kill()
        wait_until(lambda: not tracker.members("board"))
