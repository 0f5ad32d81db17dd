"""`tenfold-device`, the server in C++: what it is, and what it is on another, emulated CPU."""
from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tenfold
from device_checks import COMMAND, SECONDS
from device_server_checks import BEGIN, END, is_free, serving, session_on
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
from tenfold.runner.devices.native import PROGRAM, SERVER, build_server, device_program, library_root, needed_glibc
from tenfold.runner.devices.remote import Remote
from tenfold.runner.devices.session import Session
from tenfold.search.settings import Settings
from tenfold.search.timing.timer import open_timer
from tenfold.support.errors import TenfoldError
from tenfold.targets.architectures import this_architecture
from tenfold.targets.host import Facts, target_of

pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CXX") or "g++") is None, reason="there is no C++ compiler")


def run(*words):
    """The `tenfold` command in a process of its own."""
    command = [sys.executable, "-c", COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=5 * SECONDS)


def test_it_tells_what_it_is(server):
    here = target_of(Facts.of_this_machine(), "here")  # it has no LLVM that knows the CPU by a name of its own
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


@pytest.mark.slow
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


def test_a_second_client_is_told_at_once(server):
    with session_on(server) as session:
        with pytest.raises(TenfoldError, match=r"it serves another session \(with 127.0.0.1, for \d+ s\): try again when that has ended"):
            Session(session.address)
        assert session.ask("describe")["version"]
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


@pytest.mark.slow
def test_a_board_tells_what_it_is(arm):
    board = tenfold.targets.resolve("raspberry-pi-4")
    with session_on(arm, 60) as session:
        found = session.target
        assert (found.tvm["mcpu"], found.model, found.features) == ("cortex-a72", board.model, board.features)
        assert session.ask("check", target={"name": "a", "architecture": "aarch64", "features": ["asimd"]}) is None
        with pytest.raises(TenfoldError, match="a needs asimddp, which this machine lacks"):
            session.ask("check", target={"name": "a", "architecture": "aarch64", "features": ["asimddp"]})
    assert arm.line() == END


@pytest.mark.slow
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
