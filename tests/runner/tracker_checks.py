"""TVM's RPC tracker for tests: the program itself, in a process of its own on this machine, and devices that register with it."""
from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from device_checks import SECONDS, Server, device_server, ended_after
from tenfold.runner.devices.address import Place
from tenfold.runner.devices.choose import device_of
from tenfold.runner.devices.tracker import Member, Tracker, members
from tenfold.support.errors import TenfoldError

KEY = "rpi"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class RpcTracker:
    """`python -m tvm.exec.rpc_tracker`. It has a process for its work, which is in its group."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def place(self, key: str = KEY) -> Place:
        return Place("127.0.0.1", self.port, key)

    def start(self) -> None:
        """Start it, again on the same port."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--port-end", str(self.port + 1)]
        command = [sys.executable, "-m", "tvm.exec.rpc_tracker", *where, "--silent"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            self.summary()
        except TenfoldError:
            return False
        return True

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it was stopped
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(SECONDS)

    def summary(self) -> dict[str, Any]:
        with Tracker(self.place(), SECONDS) as tracker:
            return tracker.summary()

    def free(self, key: str = KEY) -> int:
        """How many devices it has to give."""
        return self.summary()["queue_info"].get(key, {"free": 0})["free"]

    def members(self, key: str = KEY) -> list[Member]:
        return members(self.summary(), key)


@contextmanager
def running_tracker() -> Iterator[RpcTracker]:
    """A tracker that ends with the block; without TVM's needs for it, the test is skipped."""
    lacking = [name for name in ("tornado", "cloudpickle") if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"TVM's tracker needs {' and '.join(lacking)} (pip install tenfold[test])")
    tracker = RpcTracker()
    try:
        yield tracker
    finally:
        tracker.stop()


@contextmanager
def answering(*answers: bytes) -> Iterator[Place]:
    """A place at what answers so: the first when it is greeted, each other one when it is asked; then it waits, and says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                for each in answers:
                    connection.recv(1000)
                    connection.sendall(each)
                while answers and connection.recv(1000):
                    pass

        threading.Thread(target=answer, daemon=True).start()
        yield Place("127.0.0.1", listener.getsockname()[1], "rpi")


def wait_until(holds: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Wait for what other processes do."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def joining(tracker: RpcTracker, key: str = KEY) -> tuple[str, ...]:
    """The options with which a device registers."""
    return "--tracker", tracker.address, "--key", key


def spec_of(tracker: RpcTracker, key: str = KEY) -> str:
    """What `--device` calls any of its devices."""
    return str(tracker.place(key))


def registered(tracker: RpcTracker, key: str = KEY) -> str:
    """What it says then."""
    return f"registered with the tracker {tracker.address} as {key}"


@contextmanager
def device(tracker: RpcTracker, kind: str, *options: str, key: str = KEY, folder: Path | None = None) -> Iterator[Server]:
    """A device that is registered: ``python``, `tenfold serve`, or ``c++``, `tenfold-device`."""
    make = Server if kind == "python" else device_server
    with ended_after(make(*joining(tracker, key), *options, folder=folder)) as server:
        assert server.line() == registered(tracker, key)
        yield server


class Waiting:
    """A client in a thread, and what it was told."""

    def __init__(self, spec: str, silence: float | None = None) -> None:
        self.said, self.device, self.error = [], None, None

        def wait():
            try:
                self.device = device_of(spec, silence=silence, progress=lambda step, done=None, total=None: self.said.append(step))
            except TenfoldError as error:
                self.error = str(error)

        self._thread = threading.Thread(target=wait, daemon=True)
        self._thread.start()

    def end(self) -> Waiting:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self

    def waits(self) -> Waiting:
        """Until it has said that it does."""
        wait_until(lambda: any(step.startswith("waiting for a device") for step in self.said))
        return self
