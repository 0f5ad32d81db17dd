"""The device program in C++: how it is made and kept, what it answers, and AArch64 under emulation."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tenfold
from onnx import TensorProto, helper
from tenfold.runner.devices import emulated, native
from tenfold.runner.devices.artifacts import load_on, read_manifest
from tenfold.runner.devices.choose import device_of, find_device
from tenfold.runner.devices.cpuid import cpuid_flags
from tenfold.runner.devices.device import Program
from tenfold.runner.devices.emulated import Emulated, cpus_of, emulator_for
from tenfold.runner.devices.native import compiler_for, device_program, library_root
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve
from tenfold.targets.architectures import this_architecture

HERE = this_architecture()
JIN = os.path.join(os.path.dirname(tenfold.__file__), "examples", "models", "cifar10_jin_baseline.onnx")


def lacks(architecture):
    """Why code for an architecture can't be compiled and emulated here; empty where it can."""
    if emulator_for(architecture) is None:
        return f"qemu-{architecture} is not installed (package qemu-user)"
    try:
        compiler_for(architecture)
    except TenfoldError as error:
        return str(error)
    return ""


needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX") or "g++") is None, reason="there is no C++ compiler")
needs_arm = pytest.mark.skipif(bool(lacks("aarch64")), reason=lacks("aarch64"))


def answers(lines, folder, command=None):
    command = command or [str(device_program(HERE))]
    text = "".join(line + "\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=folder, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.slow
@needs_compiler
def test_it_is_compiled_once(tmp_path, monkeypatch):
    made = device_program(HERE, tmp_path)
    assert list(made.parent.iterdir()) == [made]
    with monkeypatch.context() as patch:
        patch.setattr(native, "run_compiler", lambda command: pytest.fail("compiled again"))
        assert device_program(HERE, tmp_path) == made
    shutil.copytree(native.SOURCES, tmp_path / "cpp")
    with open(tmp_path / "cpp" / "tenfold.h", "a") as header:
        header.write("// changed\n")
    monkeypatch.setattr(native, "SOURCES", tmp_path / "cpp")
    native._digest.cache_clear()
    try:
        assert device_program(HERE, tmp_path) != made
    finally:
        native._digest.cache_clear()


@needs_compiler
def test_what_goes_wrong_while_it_is_made(tmp_path, monkeypatch):
    (tmp_path / "device").write_text("a file")
    with pytest.raises(TenfoldError, match="device: can't be written"):
        device_program(HERE, tmp_path)
    (tmp_path / "cpp").mkdir()
    (tmp_path / "cpp" / "device.cc").write_text("int main() { return nothing; }")
    monkeypatch.setattr(native, "SOURCES", tmp_path / "cpp")
    native._digest.cache_clear()
    try:
        with pytest.raises(TenfoldError, match=r"C\+\+ compiler .* failed: .*nothing"):
            device_program(HERE, tmp_path / "cache")
    finally:
        native._digest.cache_clear()
    assert not list((tmp_path / "cache" / "device").iterdir())
    with pytest.raises(TenfoldError, match="is made for sparc"):
        device_program("sparc")


@needs_compiler
@pytest.mark.skipif(HERE != "x86_64", reason="asks for CPUID")
def test_it_sees_the_same_cpu():
    (line,) = answers(["features"], "/")
    assert line.split(" ") == ["ok", *sorted(cpuid_flags())]


@needs_compiler
def test_what_is_no_question(tmp_path):
    lines = ["", "nothing", "features now", "load", "load p network", "load p all", "run p a b", "time p 3", "time p", "drop p", "features"]
    *refused, last = answers(lines, tmp_path)
    assert all(line.startswith("error ") and len(line) > 6 for line in refused) and last.startswith("ok")


@needs_compiler
def test_programs_that_are_none(tmp_path):
    (tmp_path / "p").mkdir()
    endless = "input float32 99999999999999999999"
    for text in ("", "threads x", "threads -1", "input float32 -1", "output float99 1", endless, "kernel", "else 1"):
        (tmp_path / "p" / "program").write_text(text + "\n")
        (line,) = answers(["load p network"], tmp_path)
        assert line.startswith("error ") and "p: " not in line


@needs_arm
def test_arm_flags_are_those_of_the_cpu():
    root = library_root("aarch64")
    found = {}
    for cpu in ("cortex-a72", "cortex-a76"):
        command = [emulator_for("aarch64"), "-cpu", cpu, "-L", str(root), str(device_program("aarch64"))]
        found[cpu] = set(answers(["features"], "/", command)[0].split(" ")[1:])
    for cpu, flags in found.items():  # those that the preset asks for, QEMU's has: both are of Arm's manual
        assert flags >= set(resolve(cpu).features)
    assert "asimddp" in found["cortex-a76"] - found["cortex-a72"]


@needs_arm
def test_an_arm_network_is_verified_under_emulation(tiny_file, image, tmp_path):
    net = tenfold.compile(tiny_file, "cortex-a72", tmp_path / "out", threads=2)
    assert net.manifest.verification is not None and "qemu-aarch64" in net.manifest.verification["device"]
    assert net.manifest.verification["device"].endswith("-cpu cortex-a72")  # not all that the emulator has
    here = tenfold.compile(tiny_file, output=tmp_path / "here")
    with device_of("emulated:cortex-a72", architecture="aarch64") as device:
        np.testing.assert_allclose(load_on(device, tmp_path / "out")(image), here(image), rtol=1e-5, atol=1e-5)
        handle = device.load(Program.of_artifact(tmp_path / "out", read_manifest(tmp_path / "out")), "kernels")
        assert len(device.time(handle, 2)) == 2
        with pytest.raises(TenfoldError, match="NaN or infinity"):
            load_on(device, tmp_path / "out")(np.full_like(image, np.nan))


@needs_arm
def test_a_cpu_that_lacks_something(tiny_file, tmp_path):
    needs = {"name": "board", "architecture": "aarch64", "features": ["asimd", "asimddp"], "tvm": {"mcpu": "cortex-a72"}}
    with Emulated("cortex-a72", "aarch64") as device:
        assert "board needs asimddp, which emulated qemu-aarch64" in device.check(needs)
    assert "cortex-a72" in cpus_of(emulator_for("aarch64"))
    found, _ = find_device(needs)
    with found:
        assert found.cpu == "max"


@needs_arm
@pytest.mark.slow
def test_a_whole_network_on_arm(tmp_path):
    net = tenfold.compile(JIN, "cortex-a72", tmp_path / "out")
    assert net.manifest.verification["max_rel_error"] < net.manifest.verification["tolerance"]


@needs_compiler
def test_what_needs_python_goes_to_python(tmp_path, monkeypatch):
    """An input that is an output too: no straight line of kernels."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in "xyz"]
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "returned", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    net = tenfold.compile(model, output=tmp_path / "out")
    program = Program.of_artifact(net.folder, net.manifest)
    x = np.random.default_rng(0).standard_normal((2, 8)).astype("float32")
    made = []

    class Bare(Emulated):
        def command(self):
            made.append(self)
            _, _, _, *process = super().command()
            return process

    monkeypatch.setattr(emulated, "emulator_for", lambda architecture: "/bin/true")
    monkeypatch.setattr(emulated, "Emulated", Bare)
    with Bare() as device:
        handle = device.load(program)
        results = device.run(handle, {"x": x})
        np.testing.assert_array_equal(results["y"], x.clip(0))
        np.testing.assert_array_equal(results["z"], x)
        assert len(set(map(id, made))) == 2 and len(device.time(handle, 2)) == 2
        device.drop(handle)
        with pytest.raises(TenfoldError, match="dropped"):
            device.run(handle, {"x": x})


def test_without_a_compiler_it_is_this_python(monkeypatch):
    def none(architecture):
        raise TenfoldError("there is no compiler")

    monkeypatch.setattr(native, "compiler_for", none)
    monkeypatch.setattr(emulated, "emulator_for", lambda architecture: "/bin/true")
    assert sys.executable in Emulated(architecture=HERE).command()
    other = "aarch64" if HERE == "x86_64" else "x86_64"
    with pytest.raises(TenfoldError, match="there is no compiler"):
        Emulated(architecture=other).command()
