"""Squeeze and excitation: one kernel up to the gate, the gate in the weight of the convolution behind it, and the same results."""
from __future__ import annotations

import pytest
from fusion_checks import check, conv, kernels, network
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tenfold.passes.convolution_runs import find_runs
from tenfold.passes.fuse_dense import find_dense_runs
from tenfold.passes.kernel_calls import LayerWeights
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve

HOST = resolve("host")
RELU, SIGMOID = [helper.make_node("Relu", ["s"], ["sa"])], [helper.make_node("Sigmoid", ["e"], ["g"])]
SILU = [helper.make_node("Sigmoid", ["s"], ["ss"]), helper.make_node("Mul", ["s", "ss"], ["sa"])]
HARD = [helper.make_node("HardSigmoid", ["e"], ["g"], alpha=1 / 6, beta=0.5)]


def excited(size=(28, 28), channels=40, squeezed=10, filters=24, batch=1, act=RELU, gate=SIGMOID, behind=(), outputs=("y",), kernel=1):
    """A 3 x 3 convolution, squeeze and excitation, a convolution; `behind` stands between the last two."""
    nodes = [conv("before", ["x", "w0"], "a", pads=[1] * 4), helper.make_node("Relu", ["a"], ["m"]),
             helper.make_node("GlobalAveragePool", ["m"], ["p"]), conv("squeeze", ["p", "w1", "b1"], "s"), *act,
             conv("excite", ["sa", "w2", "b2"], "e"), *gate, helper.make_node("Mul", ["m", "g"], ["t"]), *behind,
             conv("project", ["u" if behind else "t", "w3"], "z", pads=[kernel // 2] * 4),
             helper.make_node("Relu", ["z"], ["y"])]
    shapes = {"w0": (channels, 3, 3, 3), "w1": (squeezed, channels, 1, 1), "b1": (squeezed,), "w2": (channels, squeezed, 1, 1),
              "b2": (channels,), "w3": (filters, channels, kernel, kernel)}
    return network(nodes, shapes, [batch, 3, *size], outputs)


def composed(net, target):
    return lower(net.mod, backend_of(target), until="composites")["main"]


def gated(net, target):
    """The convolutions whose weight the gate scales."""
    return [member.var.name for run in find_runs(composed(net, target)) for member in run if member.gate is not None]


@pytest.mark.quick(3)
@pytest.mark.parametrize("act", [RELU, SILU])
@pytest.mark.parametrize("gate", [SIGMOID, HARD])
def test_a_block_is_one_kernel_and_the_gate_scales_the_weight(act, gate, target):
    net = excited(act=act, gate=gate)
    [run] = find_dense_runs(composed(net, target))
    assert [layer.var.name for layer in run] == ["squeeze", "excite"] and run[0].averaged.size == (28, 28)
    assert gated(net, target) == ["project"]
    names = kernels(net, target)
    assert sum("matvec_chain" in name for name in names) == 1
    # The gate's product with the map is in no kernel, nor is its average one of its own.
    assert not any(name.startswith(("mean", "multiply")) for name in names)
    check(net, target)


def test_the_kernels_know_their_layers(target):
    net = excited()
    weights = LayerWeights(net.mod)
    calls = weights.calls(lower(net.mod, backend_of(target), watch=weights.watch))
    assert [call.layers for call in calls if call.layers] == [("before",), ("squeeze", "excite"), ("project",)]


def test_a_large_weight_is_left_alone(target):
    net = excited((7, 7), 96, 24, 160)
    assert not gated(net, target)
    assert any("matvec_chain" in name and name.endswith("multiply") for name in kernels(net, target))
    check(net, target)


@pytest.mark.quick(3)
@pytest.mark.parametrize("changes", [{"batch": 2}, {"outputs": ("y", "t")}, {"behind": [helper.make_node("Relu", ["t"], ["u"])]}])
def test_products_that_are_needed_stay(changes, target):
    net = excited(**changes)
    assert not gated(net, target)
    check(net, target)


def test_an_average_that_others_read_stays(target):
    net = excited(outputs=("y", "p"))
    assert not find_dense_runs(composed(net, target))
    check(net, target)


@pytest.mark.slow
@given(size=st.tuples(st.integers(1, 20), st.integers(2, 20)), channels=st.integers(1, 70), squeezed=st.integers(1, 20),
       filters=st.integers(1, 40), kernel=st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=8, derandomize=True)
def test_any_shape(size, channels, squeezed, filters, kernel):
    check(excited(size, channels, squeezed, filters, kernel=kernel), HOST)
