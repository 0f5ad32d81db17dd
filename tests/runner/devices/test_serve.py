"""What goes wrong between a device and who times on it: neither side waits for the other without end, and nothing is left behind.

The limits on silence are a second or two here. Nothing is asserted of how long anything takes, but that it ends.
"""
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pytest
from device_checks import SECONDS, Server, ended_after
from tenfold.runner.devices.bench_session import Bench
from tenfold.runner.devices.session import Session
from tenfold.runner.devices.wire import HEAD, LONGEST, MARK, VALUE, check_silence, message
from tenfold.support.errors import TenfoldError

SILENCE = 1.5
SHORT = "--silence", str(SILENCE)
GREETING = message({"do": "greet", "silence": 60})
SLOW = "import time; from tenfold.runner.devices.bench_session import Bench; Bench.time = lambda self, module: time.sleep(module) or 1.5"
CLIENT = """
import sys, time
from tenfold.support import interrupts
from tenfold.runner.devices.session import Session
interrupts.listen()
session = Session(sys.argv[1], float(sys.argv[2]))
print("ready", flush=True)
input()
print(session.ask("time", module=int(sys.argv[3])), flush=True)
"""


def serving(*options, folder=None, patch=""):
    return ended_after(Server(*options, folder=folder, patch=patch))


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture
def session(server):
    session = Session(server.address)
    yield session
    session.close()
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


@contextmanager
def client(server, silence, module=0):
    """A process with a session, that asks for a time, which takes so many seconds under `SLOW`, when it is told to."""
    command = [sys.executable, "-c", CLIENT, server.address, str(silence), str(module)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def connect(server):
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), SECONDS)


def is_free(server):
    """A session begins and ends."""
    Session(server.address).close()
    assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


@pytest.mark.slow
def test_half_open_connections_hold_nobody():
    with serving(patch="from tenfold.runner.devices import greeting; greeting.HANDSHAKE = 600") as server:
        silent = [connect(server) for _ in range(20)]
        for number, connection in enumerate(silent):
            connection.sendall(GREETING[:number])
        is_free(server)
        assert not select.select(silent, [], [], 0)[0]  # they are still there
        for connection in silent:
            connection.close()


def test_half_open_connections_end():
    with serving(patch="from tenfold.runner.devices import greeting; greeting.HANDSHAKE = 0.2") as server:
        for begin in (b"", GREETING[:3], GREETING[:-1]):
            with connect(server) as connection:
                connection.sendall(begin)
                assert connection.recv(1) == b""
        is_free(server)


def test_more_half_open_connections_than_are_kept():
    with serving(patch="from tenfold.runner.devices import greeting, serve; greeting.HANDSHAKE, serve.GREETINGS = 600, 4") as server:
        silent = [connect(server) for _ in range(10)]
        assert silent[0].recv(1) == b""
        is_free(server)
        for connection in silent:
            connection.close()


def test_garbage_is_harmless(server):
    rng = np.random.default_rng(0)
    cases = [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, HEAD.pack(MARK, VALUE, LONGEST), HEAD.pack(MARK, VALUE, 0), HEAD.pack(MARK, 9, 1)]
    cases += [message(value) for value in (None, [], {}, "greet", {"do": "greet"}, {"do": "greet", "silence": "x"})]
    cases += [message({"do": "greet", "silence": silence}) for silence in (0, -1, 1e300, float("nan"), None, [1])]
    cases += [HEAD.pack(MARK, VALUE, 100) + b"[" * 100, *(rng.bytes(int(size)) for size in rng.integers(9, 5000, 20))]
    for case in cases:
        with connect(server) as connection, contextlib.suppress(ConnectionError):  # a reset, where bytes were left unread
            connection.sendall(case)
            assert connection.recv(1) == b""
    is_free(server)


GARBAGE = b"x" * 100, HEAD.pack(MARK, VALUE, 4) + b"[1, ", message([]), message(3), HEAD.pack(MARK, 2, 3) + b"abc"


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_within_a_session_ends_it(server, garbage):
    with connect(server) as connection:
        connection.sendall(GREETING + garbage)
        assert server.line() == "session with 127.0.0.1"
        assert server.line().startswith("session ended: the client: what it sends is no ")
    is_free(server)


def test_requests_that_make_no_sense_do_not_end_a_session(session):
    for wrong in ({"work": "fly"}, {"work": "time", "module": 7}, {"work": "time"}, {"work": "load", "folder": "..", "inputs": 1}):
        with pytest.raises(TenfoldError, match=f"device {session.address}: "):
            session.ask(**wrong)
    assert session.ask("describe")["version"]


def test_a_session_that_can_not_begin(tmp_path):
    """There is no place for its folder, for a while."""
    (tmp_path / "full").mkdir()
    with serving(patch=f"import tempfile; tempfile.tempdir = {str(tmp_path / 'full')!r}") as server:
        (tmp_path / "full").rmdir()
        with pytest.raises(TenfoldError, match="it has ended the connection"):
            Session(server.address)
        assert server.line().startswith("no session with 127.0.0.1: a temporary folder")
        (tmp_path / "full").mkdir()
        is_free(server)


def test_a_second_client_is_told_at_once(session):
    with pytest.raises(TenfoldError, match=r"it serves another session \(with 127.0.0.1, for \d+ s\): try again when that has ended"):
        Session(session.address)
    assert session.ask("describe")["version"]


@pytest.mark.slow
def test_work_that_takes_long_is_no_silence():
    with serving(*SHORT, patch=SLOW) as server:
        session = Session(server.address, SILENCE)
        assert session.ask("time", module=3 * SILENCE) == 1.5


@pytest.mark.slow
def test_a_client_that_thinks_for_long_is_not_silent():
    with serving(*SHORT) as server:
        session = Session(server.address, SILENCE)
        time.sleep(3 * SILENCE)
        assert session.ask("describe")["version"]


@pytest.mark.slow
def test_a_session_that_is_stopped(tmp_path):
    with serving(*SHORT, folder=tmp_path) as server:
        session = Session(server.address, 60)
        assert len(list(tmp_path.iterdir())) == 1
        os.kill(server.session(), signal.SIGSTOP)
        with pytest.raises(TenfoldError, match="the session has ended: its process gave no sign of life for 1.5 s"):
            session.ask("describe")
        assert server.line() == "session with 127.0.0.1"
        assert server.line() == "session ended: its process gave no sign of life for 1.5 s"
        is_free(server)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_device_that_is_stopped():
    with serving() as server:
        session = Session(server.address, SILENCE)
        for process in (server.session(), server.process.pid):
            os.kill(process, signal.SIGSTOP)
        with pytest.raises(TenfoldError, match="the session has ended: no sign of life for 1.5 s"):
            session.ask("describe")
        with pytest.raises(TenfoldError, match="the session has ended"):
            session.ask("describe")
        for process in (server.process.pid, *map(int, children(server.process.pid))):
            os.kill(process, signal.SIGCONT)
        assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]


def children(process):
    return subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True).stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_waits_for_a_device_can_be_stopped(number):
    with serving() as server, client(server, 600) as process:
        for each in (server.session(), server.process.pid):
            os.kill(each, signal.SIGSTOP)
        tell(process)
        time.sleep(0.5)  # so that it most likely waits
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode != 0 and "KeyboardInterrupt" in err
        for each in (server.process.pid, *map(int, children(server.process.pid))):
            os.kill(each, signal.SIGCONT)


@pytest.mark.slow
def test_a_client_that_is_stopped():
    with serving(*SHORT) as server, client(server, 60) as process:
        process.send_signal(signal.SIGSTOP)
        assert server.line() == "session with 127.0.0.1"
        assert server.line() == "session ended: the client: no sign of life for 1.5 s"
        is_free(server)
        process.send_signal(signal.SIGCONT)
        tell(process)
        _, err = process.communicate(timeout=SECONDS)
        assert "the session has ended" in err


@pytest.mark.slow
def test_a_client_that_is_killed_is_not_worked_for():
    with serving(patch=SLOW) as server, client(server, 60, module=600) as process:
        tell(process)
        time.sleep(0.5)
        process.kill()
        assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]
        is_free(server)


class Cable:
    """Between a client and a device; it can be pulled: then neither hears of the other, nor that there is no connection any more."""

    def __init__(self, address):
        host, port = address.split(":")
        self._device, self._ends, self.pulled = (host, int(port)), [], threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._plug, daemon=True).start()

    def _plug(self):
        self._ends = [self._listener.accept()[0], socket.create_connection(self._device)]
        for source, sink in (self._ends, self._ends[::-1]):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source, sink):
        while content := source.recv(1 << 16):
            if not self.pulled.is_set():
                sink.sendall(content)


@pytest.mark.slow
def test_a_cable_that_is_pulled():
    with serving(*SHORT) as server:
        cable = Cable(server.address)
        session = Session(cable.address, SILENCE)
        assert session.ask("describe")["version"]
        cable.pulled.set()
        with pytest.raises(TenfoldError, match="the session has ended: no sign of life for 1.5 s"):
            session.ask("describe")
        assert server.line() == "session with 127.0.0.1"
        assert server.line() == "session ended: the client: no sign of life for 1.5 s"
        is_free(server)


@pytest.mark.slow
def test_a_session_that_is_killed(tmp_path):
    with serving(folder=tmp_path) as server:
        session = Session(server.address)
        os.kill(server.session(), signal.SIGKILL)
        with pytest.raises(TenfoldError, match="the session has ended: its process died of SIGKILL"):
            session.ask("describe")
        assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended: its process died of SIGKILL"]
        assert not list(tmp_path.iterdir())
        is_free(server)


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_session_with_it(tmp_path):
    with serving(*SHORT, folder=tmp_path) as server:
        session = Session(server.address, 60)
        server.process.kill()
        server.process.wait(SECONDS)
        with pytest.raises(TenfoldError, match="the session has ended"):
            for _ in range(1000):
                session.ask("describe")
                time.sleep(0.05)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_a_server_that_is_stopped_for_good(tmp_path, stopped):
    with serving(folder=tmp_path) as server:
        session = Session(server.address)
        if stopped:
            os.kill(server.session(), signal.SIGSTOP)
        server.stop()
        assert server.process.returncode == 128 + signal.SIGTERM
        with pytest.raises(TenfoldError, match="the session has ended: tenfold serve was stopped"):
            session.ask("describe")
        assert not list(tmp_path.iterdir())


def test_files_stay_in_the_folder_of_the_session(tmp_path):
    (tmp_path / "content").write_bytes(np.random.default_rng(0).bytes(300_000))
    (tmp_path / "server").mkdir()
    with serving(folder=tmp_path / "server") as server:
        session = Session(server.address)
        session.send(tmp_path / "content", "a/b")
        (folder,) = (tmp_path / "server").iterdir()
        assert (folder / "content" / "a" / "b").read_bytes() == (tmp_path / "content").read_bytes()
        for name in ("../b", "/tmp/tenfold-b", "a/../../b", "a", "n" * 300):
            with pytest.raises(TenfoldError, match="can't be written"):
                session.send(tmp_path / "content", name)
        assert [path.name for path in (tmp_path / "server").iterdir()] == [folder.name]
        assert session.ask("describe")["version"]


def test_modules_are_forgotten_with_the_next_question(tmp_path):
    bench, dropped = Bench(tmp_path), []
    bench._device.drop = dropped.append
    bench._device.time = lambda module, runs: [module + 0.5] * runs
    bench._programs = {1: None, 2: None}
    assert bench.answer({"do": "time", "module": 2, "runs": 3, "drop": [1, 7]}) == {"value": [2.5] * 3}
    assert dropped == [1, 7] and list(bench._programs) == [2]


@pytest.mark.parametrize("silence", [0, -1, 0.1, 1e6, float("nan"), float("inf")])
def test_limits_that_are_none(silence):
    with pytest.raises(TenfoldError, match="--silence .*: give seconds"):
        check_silence(silence)
    with pytest.raises(TenfoldError, match="--silence .*: give seconds"):
        Session("127.0.0.1:1", silence)


@pytest.mark.slow
def test_events_as_json(tmp_path):
    with serving("--json", str(tmp_path / "events")) as server:
        Session(server.address).close()
        assert [server.line(), server.line()] == ["session with 127.0.0.1", "session ended"]
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [event["event"] for event in events] == [server.greeting, "session with 127.0.0.1", "session ended"]
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)
