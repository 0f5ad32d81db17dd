"""The contract of a device, held by each of them: this process, those that serve, one under emulation, and what is emulated."""
from __future__ import annotations

import os
import shutil
import signal
import sys

import numpy as np
import onnxruntime
import pytest
import tenfold
from device_checks import Server, device_server
from onnx import TensorProto, helper
from tenfold.runner.devices import choose, emulated
from tenfold.runner.devices.artifacts import load_on, read_manifest
from tenfold.runner.devices.choose import device_of, find_device
from tenfold.runner.devices.cpuid import BITS, cpuid_flags
from tenfold.runner.devices.device import KERNELS, Program
from tenfold.runner.devices.emulated import Emulated, emulator_for
from tenfold.runner.devices.here import Here
from tenfold.runner.devices.remote import Remote
from tenfold.runner.devices.session import Session
from tenfold.support.errors import TenfoldError
from tenfold.targets import detection
from tenfold.targets.architectures import X86_FLAGS

TARGET = {"name": "any", "architecture": "x86_64", "features": ["avx2", "fma"], "tvm": {}}


class Child(Emulated):
    """The process that is emulated, without an emulator."""

    def command(self):
        _, _, _, *process = super().command()
        return process


def child(monkeypatch, python=True):
    monkeypatch.setattr(emulated, "emulator_for", lambda architecture: "/bin/true")
    return Child(python=python)


def native(monkeypatch):
    """The device program in C++."""
    if shutil.which(os.environ.get("CXX") or "g++") is None:
        pytest.skip("there is no C++ compiler")
    return child(monkeypatch, python=False)


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def board():
    server = device_server()
    yield server
    server.stop()


@pytest.fixture(params=["here", "remote", "board", "child", "native", "emulated"])
def device(request, monkeypatch):
    if request.param == "emulated" and emulator_for("x86_64") is None:
        pytest.skip("qemu-x86_64 is not installed (package qemu-user)")
    if request.param in ("remote", "board"):
        made = Remote(Session(request.getfixturevalue({"remote": "server"}.get(request.param, request.param)).address))
    else:
        ways = {"here": Here, "child": lambda: child(monkeypatch), "native": lambda: native(monkeypatch), "emulated": Emulated}
        made = ways[request.param]()
    with made as entered:
        if entered.check(TARGET) is not None:
            pytest.skip(entered.check(TARGET))
        yield entered


@pytest.fixture(scope="module")
def tiny(tiny_file, tmp_path_factory):
    """For any CPU with AVX2: also an emulated one."""
    folder = tmp_path_factory.mktemp("devices") / "tiny"
    tenfold.compile(tiny_file, "x86-64-v3", folder, threads=1)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """a, b (2, 4) -> total, and where the larger of each row is: several ports, whole numbers among them."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in ("a b", "b\n", "total")]
    ports.append(helper.make_tensor_value_info("largest", TensorProto.INT64, [2]))
    nodes = [helper.make_node("Add", ["a b", "b\n"], ["total"])]
    nodes.append(helper.make_node("ArgMax", ["total"], ["largest"], axis=1, keepdims=0))
    graph = helper.make_graph(nodes, "pair", ports[:2], ports[2:])
    folder = tmp_path_factory.mktemp("devices") / "pair"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tenfold.compile(model, "x86-64-v3", folder, threads=1)
    return folder


def program(folder):
    return Program.of_artifact(folder, read_manifest(folder))


def test_it_says_what_it_is(device):
    assert device.describe() and device.name and device.cores >= 1
    assert device.is_real == (not isinstance(device, Emulated))


def test_what_it_can_run(device):
    assert device.check(TARGET) is None
    assert "aarch64" in device.check({**TARGET, "architecture": "aarch64"})
    assert "any needs quantum" in device.check({**TARGET, "features": ["avx2", "quantum"]})


def test_a_network_runs(device, tiny, tiny_file, image, tmp_path):
    shutil.copytree(tiny, tmp_path / "net")
    handle = device.load(program(tmp_path / "net"))
    shutil.rmtree(tmp_path / "net")  # a device has what it needs
    expected = onnxruntime.InferenceSession(tiny_file).run(None, {"image": image})[0]
    for _ in range(2):
        results = device.run(handle, {"image": image})
        assert list(results) == ["scores"]
        np.testing.assert_allclose(results["scores"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        results["scores"][:] = 0  # it is the caller's


def test_several_ports_and_networks(device, tiny, pair, image):
    handles = device.load(program(tiny)), device.load(program(pair))
    a, b = np.random.default_rng(0).standard_normal((2, 2, 4)).astype("float32")
    results = device.run(handles[1], {"b\n": b, "a b": a})
    np.testing.assert_allclose(results["total"], a + b, rtol=1e-6)
    np.testing.assert_array_equal(results["largest"], (a + b).argmax(axis=1))
    device.drop(handles[1])
    assert device.run(handles[0], {"image": image})["scores"].shape == (1, 5)
    with pytest.raises(TenfoldError, match="dropped"):
        device.run(handles[1], {"a b": a, "b\n": b})
    device.drop(handles[1])


def test_what_is_wrong_with_inputs_is_told(device, tiny, image):
    handle = device.load(program(tiny))
    bad = np.full_like(image, np.nan)
    for feeds in ({}, {"image": image[0]}, {"image": image.astype("float64")}, {"image": image, "more": image}, {"image": bad}):
        with pytest.raises(TenfoldError, match="input"):
            device.run(handle, feeds)
    assert device.run(handle, {"image": image})["scores"].shape == (1, 5)


def test_times(device, tiny):
    handle, kernels = device.load(program(tiny)), device.load(program(tiny), KERNELS)
    for each in (handle, kernels):
        assert len(device.time(each, 4)) == 4 and len(device.time(each)) >= 3
        assert all(0 < ms < 10_000 for ms in device.time(each, 2))


def test_a_library_that_is_none(device, tiny, tmp_path, image):
    shutil.copytree(tiny, tmp_path / "net")
    broken = program(tmp_path / "net")
    (tmp_path / "net" / "model.so").write_bytes(b"no library")
    with pytest.raises(TenfoldError, match="can't be loaded"):
        device.load(broken)
    assert device.run(device.load(program(tiny)), {"image": image})


def test_an_artifact_on_a_device(device, tiny, image):
    net = load_on(device, tiny)
    np.testing.assert_allclose(net(image), tenfold.load(tiny)(image), rtol=1e-5, atol=1e-5)
    with pytest.raises(TenfoldError, match=r"shape \[3, 8, 8\], expected"):
        net(image[0])
    with pytest.raises(TenfoldError, match="NaN or infinity"):
        net(np.full_like(image, np.inf))


def test_a_device_that_was_closed(device, tiny, image):
    handle = device.load(program(tiny))
    device.close()
    with pytest.raises(TenfoldError):
        device.run(handle, {"image": image})


def test_files_that_are_not_those_of_the_manifest(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "net")
    manifest = read_manifest(tiny)
    (tmp_path / "net" / "weights.bin").write_bytes(b"others")
    with pytest.raises(TenfoldError, match="weights.bin: does not match"):
        Program.of_artifact(tmp_path / "net", manifest)
    (tmp_path / "net" / "weights.bin").unlink()
    with pytest.raises(TenfoldError, match="there is no weights.bin"):
        Program.of_artifact(tmp_path / "net", manifest)


def test_cpuid_is_what_the_system_says():
    known = {flag for flags in BITS.values() for flag in flags}
    assert cpuid_flags() == detection.cpu_flags() & known
    assert known == set(X86_FLAGS.values()) - {"avx10_2", "apx"}  # of no CPU yet


def test_a_process_that_dies_is_told_of(monkeypatch, tiny, image):
    with child(monkeypatch) as device:
        handle = device.load(program(tiny))
        os.kill(device._process.pid, signal.SIGILL)
        with pytest.raises(TenfoldError, match="its process ended: it died of SIGILL"):
            device.run(handle, {"image": image})
        with pytest.raises(TenfoldError, match="dropped"):
            device.run(handle, {"image": image})
        assert device.run(device.load(program(tiny)), {"image": image})  # another process


def test_what_was_dropped_goes_with_the_next_network(monkeypatch, tiny):
    with child(monkeypatch) as device:
        first = device.load(program(tiny))
        device.drop(first)
        second = device.load(program(tiny))
        assert sorted(path.name for path in device._work().iterdir()) == [f"p{second}"] and first != second


def test_a_process_that_does_not_start(monkeypatch):
    with child(monkeypatch) as device:
        monkeypatch.setattr(type(device), "command", lambda self: [sys.executable, "-c", "raise SystemExit('no packages here')"])
        with pytest.raises(TenfoldError, match="its process ended: no packages here"):
            device.check(TARGET)
        monkeypatch.setattr(type(device), "command", lambda self: ["/nowhere/qemu"])
        with pytest.raises(TenfoldError, match="can't be started"):
            device.check(TARGET)


def test_an_interrupt_ends_the_process(monkeypatch, tiny, image):
    with child(monkeypatch) as device:
        handle = device.load(program(tiny))
        process = device._process

        def interrupted():
            raise KeyboardInterrupt

        monkeypatch.setattr(process.stdout, "readline", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            device.run(handle, {"image": image})
        assert process.poll() is not None


def test_nothing_is_left_behind(monkeypatch, tiny, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    device = child(monkeypatch)
    device.load(program(tiny))
    process = device._process
    assert list(tmp_path.iterdir())
    device.close()
    assert not list(tmp_path.iterdir()) and process.poll() is not None
    device.close()


@pytest.mark.skipif(emulator_for("x86_64") is None, reason="qemu-x86_64 is not installed (package qemu-user)")
def test_an_old_cpu_under_emulation(tiny):
    with device_of("emulated:Nehalem") as device:
        assert "-cpu Nehalem lacks" in device.check(TARGET) and device.describe().startswith("emulated qemu-x86_64 ")
        with pytest.raises(TenfoldError, match="device emulated:Nehalem can't run it: x86-64-v3 needs avx, avx2"):
            load_on(device, tiny)
    with device_of("emulated:no-such-cpu") as device, pytest.raises(TenfoldError, match="no-such-cpu"):
        device.check(TARGET)


def test_another_architecture_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(emulated, "emulator_for", lambda architecture: "/bin/true")
    monkeypatch.setenv("TENFOLD_CXX_AARCH64", "no-such-compiler")
    board = {"name": "board", "architecture": "aarch64", "features": [], "tvm": {}}
    with Emulated("cortex-a72", "aarch64") as device:
        assert "'no-such-compiler', which TENFOLD_CXX_AARCH64 names" in device.check(board)
    monkeypatch.setattr(choose, "emulator_for", lambda architecture: "/bin/true")
    found, lack = find_device(board)
    assert found is None and lack.startswith("board is aarch64, this machine is")


def test_the_device_of_a_name(monkeypatch, server):
    assert isinstance(device_of("here"), Here)
    with device_of(server.address, silence=30) as remote:
        assert isinstance(remote, Remote) and remote.describe().startswith(f"{server.address}, ")
    monkeypatch.setattr(emulated, "emulator_for", lambda architecture: None)
    with pytest.raises(TenfoldError, match="emulated:max: there is no qemu-x86_64: install qemu-user"):
        device_of("emulated")
    with pytest.raises(TenfoldError, match="HOST:PORT"):
        device_of("")
    with pytest.raises(TenfoldError, match="--silence"):
        device_of("here", silence=3)


def test_which_device_is_found(monkeypatch):
    assert isinstance(find_device(TARGET)[0], Here)
    monkeypatch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: frozenset(["fma"]))
    monkeypatch.setattr(choose, "emulator_for", lambda architecture: None)
    assert find_device(TARGET) == (None, "any needs avx2, which this machine lacks")


@pytest.mark.slow
def test_a_model_compiled_for_a_remote_device(tiny_file, tmp_path):
    server = Server()  # the other one may still be at the end of a session
    try:
        net = tenfold.compile(tiny_file, output=tmp_path / "out", device=server.address)
    finally:
        server.stop()
    assert net.manifest.verification["device"] == f"{server.address}, {detection.cpu_model()}"
    assert net.manifest.target["name"] == server.address
    assert net(np.zeros((1, 3, 8, 8), "float32")).shape == (1, 5)
