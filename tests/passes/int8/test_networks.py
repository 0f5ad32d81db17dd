"""Quantized networks against ONNX Runtime: within a step of the output, and with nothing between kernels but bytes."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tenfold
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from qdq_networks import Quantized, block, in_onnxruntime
from tenfold.runner.abilities import ability
from tenfold.runner.devices.artifacts import load_on
from tenfold.runner.devices.choose import find_device
from tenfold.schedules.cpu.int8.isa import dot_of
from tenfold.targets import resolve

HAS_BYTES = dot_of(resolve("host")) is not None


def check(model: onnx.ModelProto, step: float, folder: Path, integers: bool) -> tenfold.runtime.artifact.Artifact:
    """Compile, which verifies, and compare within one step.

    With the graph as it is written, or as ONNX Runtime's integer kernels compute it: those round additions and averages in their own way.
    """
    artifact = tenfold.compile(model, output=folder / "artifact")
    shape = artifact.manifest.inputs[0].shape
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    ours = np.asarray(artifact(x))
    for how in (False, True)[:1 + integers]:
        theirs = in_onnxruntime(model, x, how)
        assert np.abs(ours - theirs).max() <= 1.01 * step, how
        assert (np.abs(ours - theirs) > step / 2).mean() <= 0.02, how
    return artifact


@pytest.mark.slow
@given(
    channels=st.integers(1, 33), filters=st.integers(1, 40), kernel=st.sampled_from([1, 3, 5]), stride=st.integers(1, 2),
    dilation=st.integers(1, 2), padding=st.integers(0, 2), grouped=st.booleans(), signed=st.booleans(), by_channel=st.booleans(),
    zero=st.integers(-100, 100), size=st.integers(9, 14), six=st.booleans(), seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=12, derandomize=True)
def test_a_convolution(tmp_path_factory, channels, filters, kernel, stride, dilation, padding, grouped, signed, by_channel, zero, size, six,
                       seed):
    groups = 2 if grouped else 1
    channels, filters = groups * channels, groups * filters
    net = Quantized(np.int8 if signed else np.uint8, seed)
    x = net.through("x", 0.03, zero if signed else zero + 128)
    y = net.node("Conv", x, net.weight((filters, channels // groups, kernel, kernel), by_channel), net.bias(filters),
                 kernel_shape=[kernel] * 2, strides=[stride] * 2, dilations=[dilation] * 2, pads=[padding] * 4, group=groups)
    y = net.node("Clip", y, net.constant(np.float32(0)), net.constant(np.float32(6))) if six else net.node("Relu", y)
    model = net.model((1, channels, size, size), net.through(y, 0.04, -128 if signed else 0))
    artifact = check(model, 0.04, tmp_path_factory.mktemp("convolution"), integers=True)
    if HAS_BYTES:
        assert len(artifact.manifest.quantized["int8"]) == 1 and not artifact.manifest.quantized["float32"]


@pytest.mark.parametrize("signed", [False, True])
def test_a_network(signed, tmp_path):
    model, step = block(signed)
    artifact = check(model, step, tmp_path, integers=False)
    if not HAS_BYTES:
        return
    assert len(artifact.manifest.quantized["int8"]) == 4 and not artifact.manifest.quantized["float32"]
    floats = artifact.manifest.memory["activations"]
    assert floats <= 2 * 8 * 12 * 12 + 4 * 16 * 12 * 12  # bytes: in float32 it would be four times as much
    names = " ".join(kernel["function"] for kernel in artifact.manifest.kernels)
    assert "int8_depthwise" in names and "int8_dense" in names and names.count("int8_conv2d") == 2


def test_what_stays_in_float32_says_why(tmp_path):
    net = Quantized()
    x = net.through("x", 0.03, 128)
    weight = net.constant(net.rng.standard_normal((8, 8, 3, 3)).astype(np.float32))  # not quantized
    a = net.through(net.node("Conv", x, weight, kernel_shape=[3, 3]), 0.1, 128)
    b = net.node("Relu", net.node("Conv", a, net.weight((8, 8, 1, 1)), kernel_shape=[1, 1]))  # no quantize behind it
    c = net.node("Conv", b, net.weight((8, 8, 1, 1)), kernel_shape=[1, 1])  # none before it
    artifact = tenfold.compile(net.model((1, 8, 9, 9), net.through(c, 0.05, 128)), output=tmp_path / "artifact")
    found = artifact.manifest.quantized
    reasons = list(found["float32"].values())
    assert len(found["int8"]) == int(HAS_BYTES)
    assert "its weights are no whole multiples of steps that fit into signed bytes" in reasons and "its input is not quantized" in reasons


def test_a_network_that_is_not_quantized_says_nothing(tmp_path):
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    graph = helper.make_graph([node], "plain", [helper.make_tensor_value_info("x", 1, [1, 4, 5, 5])],
                              [helper.make_tensor_value_info("y", 1, [1, 4, 5, 5])],
                              [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert tenfold.compile(model, output=tmp_path / "artifact").manifest.quantized is None


@pytest.mark.quick(1)
@pytest.mark.parametrize("target", ["apple-m1", "cortex-a53", "x86-64-v3", "x86-64-v4", "zen3"])
def test_other_targets_compile_it_too(target):
    """As code: with kernels of bytes."""
    from tenfold.frontends import load
    from tenfold.passes.pipeline import build
    from tenfold.schedules.backend import backend_of

    model, _ = block(signed=True)
    backend = backend_of(resolve(target))
    build(load(model).mod, backend)
    assert set(backend.computed_in.values()) == {"int8"} and len(backend.computed_in) == 4


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-a72", "neoverse-n1"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_network_on_arm(signed, target, tmp_path):
    """Under emulation, where it is installed."""
    if not ability(resolve(target)).compile:
        pytest.skip("no C++ compiler for AArch64 is installed")
    model, step = block(signed)
    artifact = tenfold.compile(model, target, tmp_path / "artifact", threads=2)
    found = artifact.manifest
    assert len(found.quantized["int8"]) == 4 and not found.quantized["float32"]
    assert found.memory["activations"] <= 2 * 8 * 12 * 12 + 4 * 16 * 12 * 12
    if found.verification is None:
        pytest.skip("neither this machine nor an emulator that is installed can run it")
    device, _ = find_device(found.target)
    assert device is not None
    x = np.random.default_rng(7).standard_normal(found.inputs[0].shape).astype(np.float32)
    with device:
        ours = np.asarray(load_on(device, tmp_path / "artifact")(x))
    theirs = in_onnxruntime(model, x, integers=False)
    assert np.abs(ours - theirs).max() <= 1.01 * step and (np.abs(ours - theirs) > step / 2).mean() <= 0.02


def test_nothing_changes_for_targets_without_kernels_of_bytes():
    import tvm
    from tenfold.frontends import load
    from tenfold.passes.pipeline import lower
    from tenfold.schedules.backend import backend_of

    model, _ = block(signed=True)
    mod, backend = load(model).mod, backend_of(resolve({"kind": "llvm", "mcpu": "x86-64-v2"}))
    before, after = (lower(mod, backend, until=phase) for phase in ("composites", "quantized"))
    tvm.ir.assert_structural_equal(before["main"], after["main"])
    assert set(backend.computed_in.values()) == {f"target {backend.target.name} has no kernels of bytes"}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes_in_and_bytes_out(dtype, tmp_path):
    """Of a network that takes and gives bytes, each of the type that the file says."""
    net = Quantized(dtype)
    scale, zero = net.constant(np.float32(0.03)), net.constant(np.asarray(7, dtype))
    y = net.node("Conv", net.node("DequantizeLinear", "x", scale, zero), net.weight((20, 6, 3, 3)), kernel_shape=[3, 3], pads=[1] * 4)
    net.node("QuantizeLinear", y, net.constant(np.float32(0.05)), zero)
    net.nodes[-1].output[0] = "y"
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(net.nodes, "bytes", [helper.make_tensor_value_info("x", kind, [1, 6, 9, 9])],
                              [helper.make_tensor_value_info("y", kind, [1, 20, 9, 9])], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    artifact = tenfold.compile(model, output=tmp_path / "artifact")
    limits = np.iinfo(dtype)
    x = np.random.default_rng(5).integers(limits.min, limits.max, (1, 6, 9, 9), endpoint=True).astype(dtype)
    ours, theirs = np.asarray(artifact(x)), in_onnxruntime(model, x, integers=False)
    assert ours.dtype == theirs.dtype == dtype
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert len(artifact.manifest.quantized["int8"]) == int(HAS_BYTES)
