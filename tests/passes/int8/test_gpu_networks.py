"""Quantized networks for GPUs under emulation: within a step of the graph as it is written, nothing between kernels but bytes."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_checks import EmulatedNetwork, network
from hypothesis import given, settings
from hypothesis import strategies as st
from qdq_networks import Quantized, block, in_onnxruntime
from tenfold.frontends import load
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve


def check(model, step: float, order: str | int = "forward") -> EmulatedNetwork:
    """Run a network in the emulator, and compare within one step."""
    compiled = network(load(model).mod)
    shape = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    [ours], theirs = compiled(x, order=order), in_onnxruntime(model, x, integers=False)
    assert np.abs(ours - theirs).max() <= 1.01 * step
    assert (np.abs(ours - theirs) > step / 2).mean() <= 0.02
    return compiled


@given(
    channels=st.integers(1, 33), filters=st.integers(1, 40), kernel=st.sampled_from([1, 3, 5]), stride=st.integers(1, 2),
    padding=st.integers(0, 2), grouped=st.booleans(), signed=st.booleans(), zero=st.integers(-100, 100), size=st.integers(9, 14),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=4, derandomize=True)
def test_a_convolution(channels, filters, kernel, stride, padding, grouped, signed, zero, size, seed):
    groups = 2 if grouped else 1
    channels, filters = groups * channels, groups * filters
    net = Quantized(np.int8 if signed else np.uint8, seed)
    x = net.through("x", 0.03, zero if signed else zero + 128)
    y = net.node("Conv", x, net.weight((filters, channels // groups, kernel, kernel)), net.bias(filters),
                 kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4, group=groups)
    check(net.model((1, channels, size, size), net.through(net.node("Relu", y), 0.04, -128 if signed else 0)), 0.04, seed)


@pytest.mark.parametrize("signed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_network(signed):
    compiled = check(*block(signed))
    names = " ".join(compiled.launches)
    assert "int8_depthwise" in names and "int8_dense" in names and "int8_conv2d" in names
    between = [place for place in compiled.memory.places if place.dtype == "float32"]
    assert not between  # nothing but bytes


@pytest.mark.parametrize("target", ["sm_75", "sm_90", "cuda:sm_80,sm_90", "jetson-orin"])
def test_all_presets_compute_all_layers_on_bytes(target):
    model, _ = block(signed=True)
    backend = backend_of(resolve(target))
    lower(load(model).mod, backend, until="quantized")
    assert list(backend.computed_in.values()) == ["int8"] * 4
