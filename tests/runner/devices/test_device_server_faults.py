"""`tenfold-device`: what goes wrong with what it runs, with who talks to it, and with itself."""
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from device_checks import SECONDS
from device_server_checks import BEGIN, END, SHORT, connect, is_free, serving, session_on
from tenfold.runner.devices import session as session_module
from tenfold.runner.devices.artifacts import read_manifest
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.native import compiler_for
from tenfold.runner.devices.remote import Remote
from tenfold.runner.devices.session import Session
from tenfold.runner.devices.wire import BYTES, HEAD, LONGEST, MARK, VALUE, message
from tenfold.support.errors import TenfoldError
from tenfold.targets.architectures import this_architecture

pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CXX") or "g++") is None, reason="there is no C++ compiler")

GREETING = message({"do": "greet", "silence": 60})
# What a network's library has to have, with kernels that are none.
LIBRARY = """
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
extern "C" {
void tenfold_use_threads(int) {}
int tenfold_parallel_launch() { return 0; }
int tenfold_parallel_barrier() { return 0; }
%s
int __tvm_ffi_tenfold_run() { %s; return 0; }
}
"""
TRAPS = {
    "SIGILL": "__builtin_trap();" if this_architecture() == "x86_64" else 'asm volatile(".inst 0");',
    "SIGSEGV": "*(volatile int *)8 = 1;",
    "SIGFPE": "std::raise(SIGFPE);",
    "SIGABRT": "std::abort();",
}


def fake(artifact: Path, folder: Path, code: str) -> Program:
    """The network of an artifact with a library that runs other code."""
    folder.mkdir()
    listed = subprocess.run(["nm", "-D", "--defined-only", artifact / "model.so"], capture_output=True, text=True, check=True).stdout
    kernels = {line.split()[-1] for line in listed.splitlines() if " __tvm_ffi_" in line} - {"__tvm_ffi_tenfold_run"}
    (folder / "code.cc").write_text(LIBRARY % ("\n".join(f"int {name}() {{ return 0; }}" for name in sorted(kernels)), code))
    subprocess.run([compiler_for(this_architecture()), "-shared", "-fPIC", "-o", folder / "model.so", folder / "code.cc"], check=True)
    shutil.copyfile(artifact / "weights.bin", folder / "weights.bin")
    manifest = read_manifest(artifact)
    return Program(folder, manifest.inputs, manifest.outputs, 1)


@pytest.mark.parametrize("name", TRAPS)
def test_a_kernel_that_traps_ends_its_session_alone(server, tiny_artifact, tmp_path, image, name):
    with session_on(server) as session, Remote(session) as device:
        handle = device.load(fake(tiny_artifact, tmp_path / "net", TRAPS[name]))
        with pytest.raises(TenfoldError, match=f"the session has ended: its process died of {name}$"):
            device.run(handle, {"image": image})
    assert server.line() == f"session ended: its process died of {name}"
    is_free(server)


def test_code_that_leaves(server, tiny_artifact, tmp_path):
    with session_on(server) as session, Remote(session) as device:
        handle = device.load(fake(tiny_artifact, tmp_path / "net", "_exit(7)"))
        with pytest.raises(TenfoldError, match=r"the session has ended: its process failed \(7\)"):
            device.time(handle, 3)
    assert server.line() == "session ended: its process failed (7)"


def test_code_that_does_not_end(tiny_artifact, tmp_path, image):
    (tmp_path / "tmp").mkdir()
    with serving(*SHORT, folder=tmp_path / "tmp") as server, session_on(server, 60) as session, Remote(session) as device:
        handle = device.load(fake(tiny_artifact, tmp_path / "net", "for (;;) pause()"))
        with pytest.raises(TenfoldError, match="the session has ended: what it runs has not ended for 1.5 s"):
            device.run(handle, {"image": image})
        assert server.line() == "session ended: what it runs has not ended for 1.5 s"
        is_free(server)
        assert not list((tmp_path / "tmp").iterdir())


def test_what_code_starts_ends_with_it(server, tiny_artifact, tmp_path):
    note = f'FILE *file = fopen("{tmp_path}/child", "w"); fprintf(file, "%d", child); fclose(file)'
    with session_on(server) as session, Remote(session) as device:
        handle = device.load(fake(tiny_artifact, tmp_path / "net", f"int child = fork(); if (!child) for (;;) pause(); {note}; _exit(0)"))
        with pytest.raises(TenfoldError, match="the session has ended"):
            device.time(handle, 3)
    assert server.line() == END
    child = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    end = time.monotonic() + SECONDS
    while child.exists() and child.read_text().split(")")[1].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_session_that_is_killed_or_stopped(tmp_path):
    with serving(*SHORT, folder=tmp_path) as server:
        for number, words in (
            (signal.SIGKILL, "its process died of SIGKILL"),
            (signal.SIGSTOP, "its process gave no sign of life for 1.5 s"),
        ):
            with session_on(server, 60) as session:
                assert len(list(tmp_path.iterdir())) == 1
                os.kill(server.session(), number)
                with pytest.raises(TenfoldError, match=f"the session has ended: {words}"):
                    session.ask("describe")
            assert server.line() == f"session ended: {words}"
            assert not list(tmp_path.iterdir())
        is_free(server)


@pytest.mark.slow
def test_a_long_measurement_is_no_hang(tiny_artifact, tmp_path):
    """Each run counts for itself."""
    with serving(*SHORT) as server, session_on(server, 1.5) as session, Remote(session) as device:
        handle = device.load(fake(tiny_artifact, tmp_path / "net", "usleep(100000)"))
        assert len(device.time(handle, 40)) == 40


def test_a_client_that_vanishes(server, tiny_artifact, tmp_path):
    """In the middle of a file, and while what it sent runs on."""
    with connect(server) as connection:
        connection.sendall(GREETING + message({"do": "store", "name": "a", "size": 100}) + HEAD.pack(MARK, BYTES, 50) + b"x" * 10)
        assert server.line() == BEGIN
    assert server.line() == END
    session = Session(server.address)
    handle = Remote(session).load(fake(tiny_artifact, tmp_path / "net", "for (;;) pause()"))
    session._wire.send({"do": "time", "module": handle, "runs": 3})
    session.close()
    assert [server.line(), server.line()] == [BEGIN, END]
    is_free(server)


def test_a_client_that_is_silent():
    with serving(*SHORT) as server, connect(server) as connection:
        connection.sendall(GREETING)
        assert server.line() == BEGIN
        assert server.line() == "session ended: the client: no sign of life for 1.5 s"


@pytest.mark.slow
def test_half_open_connections_hold_nobody_and_end(server):
    silent = [connect(server) for _ in range(100)]  # more than are kept
    for number, connection in enumerate(silent):
        with contextlib.suppress(ConnectionError):
            connection.sendall(GREETING[: number % len(GREETING)])
    is_free(server)
    for connection in silent:
        with connection, contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""


def test_garbage_is_harmless(server):
    rng = np.random.default_rng(0)
    cases = [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, HEAD.pack(MARK, VALUE, LONGEST), HEAD.pack(MARK, VALUE, 0), HEAD.pack(MARK, 9, 1)]
    cases += [message(value) for value in (None, [], {}, "greet", {"do": "greet"}, {"do": "greet", "silence": "x"})]
    cases += [message({"do": [], "silence": 1})]
    cases += [message({"do": "greet", "silence": silence}) for silence in (0, -1, 1e300, float("nan"), None, [1])]
    cases += [HEAD.pack(MARK, VALUE, 3000) + b"[" * 3000, *(rng.bytes(int(size)) for size in rng.integers(9, 5000, 20))]
    for case in cases:
        with connect(server) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(case)
            assert connection.recv(1) == b""
    is_free(server)


GARBAGE = (
    b"x" * 100, HEAD.pack(MARK, VALUE, 4) + b"[1, ", message([]), message(3), HEAD.pack(MARK, BYTES, 3) + b"abc",
    message({"do": "store", "name": "a", "size": -1}), message({"do": "store", "name": "a", "size": 4}) + message({"do": "describe"}),
    HEAD.pack(MARK, VALUE, 100_000) + b"[" * 100_000,
)  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_within_a_session_ends_it(server, garbage):
    with connect(server) as connection:
        connection.sendall(GREETING + garbage)
        assert server.line() == BEGIN
        assert server.line().startswith("session ended: the client: what it sends is no ")
    is_free(server)


def test_requests_that_make_no_sense_do_not_end_a_session(server):
    port = {"name": "x", "shape": [1], "dtype": "float32"}
    load = {"do": "load", "inputs": [port], "outputs": [port], "kernels": [], "threads": 1}
    wrong = [
        {}, {"do": "fly"}, {"do": 1}, {"do": "time"}, {"do": "time", "module": 7}, {"do": "run", "module": -1}, {"do": "check"},
        {"do": "check", "target": []}, {**load, "folder": ".."}, {**load, "folder": "a b"}, {**load, "folder": "m\nload"},
        {**load, "folder": "m", "threads": 0}, {**load, "folder": "m", "kernels": ["a b"]}, {**load, "folder": "m", "outputs": 1},
        {**load, "folder": "m", "inputs": [{**port, "shape": [1 << 60]}]}, {**load, "folder": "m", "part": "all of it"},
        {**load, "folder": "nothing"}, {"do": "describe", "drop": ["x"]},
    ]  # fmt: skip
    with session_on(server) as session:
        for request in wrong:
            with pytest.raises(TenfoldError, match=f"device {session.address}: (?!the session has ended)"):
                session._ask(request)
        assert session.ask("describe", drop=[])["version"]
    assert server.line() == END


def wait_for_end(process: int) -> None:
    """Wait until a process that was killed holds nothing any more; nobody may have collected it yet.

    It is a zombie as soon as its first thread has ended: the files stay open until the last one has.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z" and len(os.listdir(f"/proc/{process}/task")) == 1:
                return
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process} does not end")


def test_nothing_stays_of_servers_that_were_killed(tmp_path):
    with serving(*SHORT, folder=tmp_path) as server, session_on(server):
        process = server.session()
        os.kill(process, signal.SIGSTOP)
        server.process.kill()
        os.kill(process, signal.SIGKILL)
        server.process.wait(SECONDS)
        wait_for_end(process)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "tenfold-device-other").mkdir()
    with serving(folder=tmp_path) as server, session_on(server):
        assert len([path for path in tmp_path.iterdir() if path.name != "tenfold-device-other"]) == 1


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_for_good(tmp_path, number):
    with serving(folder=tmp_path) as server:
        session = Session(server.address)
        os.kill(server.session(), signal.SIGSTOP)
        server.process.send_signal(number)
        assert server.process.wait(SECONDS) == 128 + number
        with pytest.raises(TenfoldError, match="the session has ended: tenfold-device was stopped"):
            session.ask("describe")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("facts", [[], {}, "x", {"architecture": 1}])
def test_facts_that_make_no_sense(facts):
    """What answers is a device, and tells nonsense of its CPU."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        about = {"version": session_module.this_version(), "target": None, "reason": None, "facts": facts}

        def answer():
            connection, _ = listener.accept()
            connection.sendall(message({"silence": 60}) + message({"value": about}))
            connection.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(TenfoldError, match="device 127.0.0.1:.*: what it says of its CPU makes no sense"):
            Session(f"127.0.0.1:{listener.getsockname()[1]}")


@pytest.mark.slow
def test_a_device_that_is_gone_is_told_of_soon(server):
    """All of it stands still, as if it were off: no answer comes, and no end of the connection. The default limit on silence."""
    with session_on(server) as session:
        child = server.session()
        for process in (child, server.process.pid):
            os.kill(process, signal.SIGSTOP)
        begin = time.monotonic()
        try:
            with pytest.raises(TenfoldError, match="the session has ended: no sign of life for 12 s"):
                session.ask("describe")
            assert time.monotonic() - begin < 15
        finally:
            for process in (server.process.pid, child):
                os.kill(process, signal.SIGCONT)
    assert server.line() == END
