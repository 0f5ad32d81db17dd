"""`tenfold-device`, the server in C++: what goes wrong with what it runs and who talks to it; and what it is on another, emulated CPU."""
from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tenfold
from device_checks import COMMAND, SECONDS, device_server, ended_after
from onnx import TensorProto, helper
from tenfold.factorization import METHODS, Layer
from tenfold.frontends import load
from tenfold.passes.layer_module import layer_module
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices import session as session_module
from tenfold.runner.devices.artifacts import load_on, read_manifest
from tenfold.runner.devices.choose import device_of
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.emulated import emulator_for
from tenfold.runner.devices.native import PROGRAM, SERVER, build_server, compiler_for, device_program, library_root, needed_glibc
from tenfold.runner.devices.remote import Remote
from tenfold.runner.devices.session import Session
from tenfold.runner.devices.wire import BYTES, HEAD, LONGEST, MARK, VALUE, message
from tenfold.search.settings import Settings
from tenfold.search.timing.timer import open_timer
from tenfold.support.errors import TenfoldError
from tenfold.targets.architectures import this_architecture
from tenfold.targets.host import detect_host

pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CXX") or "g++") is None, reason="there is no C++ compiler")

GREETING = message({"do": "greet", "silence": 60})
SHORT = "--silence", "1.5"
BEGIN, END = "session with 127.0.0.1", "session ended"
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


def run(*words):
    """The `tenfold` command in a process of its own."""
    command = [sys.executable, "-c", COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=5 * SECONDS)


def serving(*options, folder=None, program=None):
    return ended_after(device_server(*options, folder=folder, program=program))


@pytest.fixture(scope="module")
def one():
    with serving() as server:
        yield server
        assert server.process.poll() is None


@pytest.fixture
def server(one):
    """One for all tests, whose lines of earlier tests are forgotten: a failure is one failure."""
    one.forget()
    return one


def connect(server):
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), SECONDS)


def is_free(server):
    """A session begins and ends."""
    Session(server.address).close()
    assert [server.line(), server.line()] == [BEGIN, END]


@contextmanager
def session_on(server, silence=12.0):
    session = Session(server.address, silence)
    assert server.line() == BEGIN
    yield session
    session.close()


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


def test_it_tells_what_it_is(server):
    here = detect_host()
    with session_on(server) as session:
        found = session.target
        assert (found.tvm, found.features, found.cores, found.model) == (here.tvm, here.features, here.cores, here.model)
        assert (found.l1_bytes, found.l2_bytes, found.l3_bytes) == (here.l1_bytes, here.l2_bytes, here.l3_bytes)
        assert session.cores == here.cores and session.cpu and found.name == session.address
    assert server.line() == END


def test_options(server):
    program = server.program[0]

    def said(*options):
        done = subprocess.run([program, *options], capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = said("--version")
    assert code == 0 and out.startswith(f"tenfold-device {metadata.version('tenfold')}, format ")
    assert "--silence" in said("--help")[1]
    port = server.address.split(":")[1]
    wrong = ["--port", "--port x", "--port 70000", "--silence 0", "--silence nan", "--all", f"--port {port}", "--host :x --port 0"]
    for options in map(str.split, wrong):
        code, out, err = said(*options)
        assert code == 2 and not out and err.startswith("tenfold-device: ") and err.count("\n") == 1, options


def test_it_listens_to_this_machine_only(server):
    assert server.address.startswith("127.0.0.1:")
    port = int(server.address.split(":")[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), SECONDS)


def test_another_version(server, monkeypatch):
    monkeypatch.setattr(session_module, "this_version", lambda: "0.0, format 0")
    with pytest.raises(TenfoldError, match="it has Tenfold .*, protocol 1, this is 0.0, format 0: build its program again"):
        Session(server.address)
    assert [server.line(), server.line()] == [BEGIN, END]


def test_commands_take_it_for_a_device(server, tiny_file, tmp_path, image):
    """compile, verify, run and bench, as with `tenfold serve`."""
    np.save(tmp_path / "x.npy", image)
    out = str(tmp_path / "out")
    there = "--device", server.address
    assert run("compile", tiny_file, "-o", out, *there).returncode == 0
    assert read_manifest(Path(out)).verification["device"].startswith(server.address)
    assert run("verify", out, *there).returncode == 0
    assert run("run", out, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz", *there).returncode == 0
    expected = onnxruntime.InferenceSession(tiny_file).run(None, {"image": image})[0]
    np.testing.assert_allclose(np.load(tmp_path / "y.npz")["scores"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert run("bench", out, "--runs", "5", *there).returncode == 0
    lines = [server.line() for _ in range(8)]
    assert lines == [BEGIN, END] * 4


def test_a_search_is_timed_there(server, tiny_file):
    layer = Layer("conv", "conv2d", (32, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))
    with open_timer(server.address, None, Settings(threads=1)) as (target, timer):
        assert target.cores == 1 and isinstance(timer, TimedModules) and isinstance(timer.device, Remote)
        for mod in (layer_module(layer), layer_module(layer, METHODS["tucker2"].outline(layer, (8, 8)), ("relax.add", "relax.nn.relu"))):
            assert 0 < timer.kernels(mod)() < 1000
        assert 0 < timer.network(load(tiny_file).mod)() < 1000
    assert [server.line(), server.line()] == [BEGIN, END]


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


def test_a_second_client_is_told_at_once(server):
    with session_on(server) as session:
        with pytest.raises(TenfoldError, match=r"it serves another session \(with 127.0.0.1, for \d+ s\): try again when that has ended"):
            Session(session.address)
        assert session.ask("describe")["version"]
    assert server.line() == END


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


def test_files_stay_in_the_folder_of_the_session(tmp_path):
    (tmp_path / "content").write_bytes(np.random.default_rng(0).bytes(300_000))
    (tmp_path / "server").mkdir()
    with serving(folder=tmp_path / "server") as server:
        with session_on(server) as session:
            session.send(tmp_path / "content", "a/b")
            (folder,) = (tmp_path / "server").iterdir()
            assert (folder / "a" / "b").read_bytes() == (tmp_path / "content").read_bytes()
            for name in ("../b", "/tmp/tenfold-b", "a/../../b", "a", "n" * 300, "", ".", "a//b"):
                with pytest.raises(TenfoldError, match="can't be written"):
                    session.send(tmp_path / "content", name)
            assert [path.name for path in (tmp_path / "server").iterdir()] == [folder.name]
        assert server.line() == END
        assert not list((tmp_path / "server").iterdir())


def wait_for_end(process: int) -> None:
    """Wait until a process that was killed holds nothing any more; nobody may have collected it yet."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
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


def test_what_is_no_straight_line_is_refused(server, tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in "xyz"]
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "returned", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tenfold.compile(model, output=tmp_path / "out")
    with device_of(server.address) as device, pytest.raises(TenfoldError, match="no straight line of kernels.*run it with Python"):
        load_on(device, tmp_path / "out")
    assert [server.line(), server.line()] == [BEGIN, END]


def test_it_is_built_into_a_folder(tmp_path):
    done = run("device", "build", "-o", tmp_path / "a" / "b", "--json", "-", "-q")
    assert done.returncode == 0 and (tmp_path / "a" / "b" / PROGRAM).stat().st_size < 1 << 20
    program = build_server(this_architecture(), tmp_path / "a" / "b")  # again
    assert os.access(program, os.X_OK) and needed_glibc(program) in done.stdout
    assert "Python" not in subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    (tmp_path / "file").write_text("")
    done = run("device", "build", "-o", tmp_path / "file")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "can't be written" in done.stderr
    assert run("device", "build", "--target", "no-such", "-o", tmp_path).returncode == 2


# -- Another CPU, under emulation -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arm():
    emulator = emulator_for("aarch64")
    if emulator is None:
        pytest.skip("qemu-aarch64 is not installed (package qemu-user)")
    try:
        program = device_program("aarch64", kind=SERVER)
    except TenfoldError as error:
        pytest.skip(str(error))
    with serving(program=[emulator, "-cpu", "cortex-a72", "-L", str(library_root("aarch64")), str(program)]) as server:
        yield server


def test_a_board_tells_what_it_is(arm):
    board = tenfold.targets.resolve("raspberry-pi-4")
    with session_on(arm, 60) as session:
        found = session.target
        assert (found.tvm["mcpu"], found.model, found.features) == ("cortex-a72", board.model, board.features)
        assert session.ask("check", target={"name": "a", "architecture": "aarch64", "features": ["asimd"]}) is None
        with pytest.raises(TenfoldError, match="a needs asimddp, which this machine lacks"):
            session.ask("check", target={"name": "a", "architecture": "aarch64", "features": ["asimddp"]})
    assert arm.line() == END


def test_a_board_compiles_runs_verifies_and_times(arm, tiny_file, tmp_path, image):
    net = tenfold.compile(tiny_file, output=tmp_path / "out", device=arm.address)
    assert net.manifest.target["tvm"]["mcpu"] == "cortex-a72" and net.manifest.verification["device"].startswith(arm.address)
    assert [arm.line(), arm.line()] == [BEGIN, END]
    expected = onnxruntime.InferenceSession(tiny_file).run(None, {"image": image})[0]
    with device_of(arm.address) as device:
        np.testing.assert_allclose(load_on(device, tmp_path / "out")(image), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        handle = device.load(Program.of_artifact(tmp_path / "out", read_manifest(tmp_path / "out"), 1), "kernels")
        assert len(device.time(handle, 2)) == 2
    assert [arm.line(), arm.line()] == [BEGIN, END]


def test_a_board_survives_code_of_another_cpu(arm, tiny_artifact):
    """A library of x86-64 is no library there; a session that dies is told of."""
    with session_on(arm, 60) as session, Remote(session) as device:
        with pytest.raises(TenfoldError, match="can't be loaded as a compiled network"):
            device.load(Program.of_artifact(tiny_artifact, read_manifest(tiny_artifact), 1))
        os.kill(arm.session(), signal.SIGSEGV)
        with pytest.raises(TenfoldError, match="the session has ended: its process died of SIG"):
            session.ask("describe")
    lines = iter(arm.line, None)  # the emulator has words of its own
    assert any(line.startswith("session ended: its process died of SIG") for line in itertools.islice(lines, 3))
    is_free(arm)
