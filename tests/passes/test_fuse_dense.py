"""Which fully connected layers of a network join, and that the network still computes the same."""
from __future__ import annotations

import pytest
from fusion_checks import check, kernels, network
from onnx import helper
from tenfold.passes.fuse_dense import find_dense_runs
from tenfold.passes.kernel_calls import LayerWeights
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of


def layers(rows=1, between=(), outputs=("y",)):
    """Three fully connected layers, ReLU behind the first two; `between` stands in the place of the second ReLU."""
    nodes = [helper.make_node("Gemm", ["x", "w0", "b0"], ["a"], "first", transB=1), helper.make_node("Relu", ["a"], ["ar"]),
             helper.make_node("Gemm", ["ar", "w1", "b1"], ["b"], "second", transB=1),
             *(between or [helper.make_node("Relu", ["b"], ["br"])]),
             helper.make_node("MatMul", ["br", "w2"], ["c"], "third"), helper.make_node("Add", ["c", "b2"], ["y"])]
    shapes = {"w0": (200, 400), "b0": (200,), "w1": (99, 200), "b1": (99,), "w2": (99, 10), "b2": (10,)}
    return network(nodes, shapes, [rows, 400], outputs)


def runs(net, target):
    return [[layer.var.name for layer in run] for run in find_dense_runs(lower(net.mod, backend_of(target), until="composites")["main"])]


def test_three_layers_are_one_kernel(target):
    net = layers()
    assert runs(net, target) == [["first", "second", "third"]]
    assert [name for name in kernels(net, target) if "matvec" in name] == ["fused_matvec_chain_add"]
    check(net, target)


def test_the_kernel_knows_its_layers(target):
    net = layers()
    weights = LayerWeights(net.mod)
    [call] = weights.calls(lower(net.mod, backend_of(target), watch=weights.watch))
    assert call.layers == ("first", "second", "third")
    assert call.macs == 400 * 200 + 200 * 99 + 99 * 10


def test_several_rows_are_left_alone(target):
    net = layers(rows=3)
    assert not runs(net, target)
    check(net, target)


@pytest.mark.parametrize("outputs", [("y", "ar"), ("y", "a")])
def test_a_value_that_is_also_an_output_is_kept(outputs, target):
    net = layers(outputs=outputs)
    assert runs(net, target) == [["second", "third"]]
    check(net, target)


def test_a_step_that_is_not_element_wise_ends_the_run(target):
    net = layers(between=[helper.make_node("Softmax", ["b"], ["br"], axis=-1)])
    assert runs(net, target) == [["first", "second"]]
    check(net, target)


def test_activations_between(target):
    sigmoid = [helper.make_node("Sigmoid", ["b"], ["s"]), helper.make_node("Clip", ["s", "low", "high"], ["br"])]
    ends = [helper.make_node("MatMul", [a, w], [b], name) for a, w, b, name in (("x", "w0", "b", "first"), ("br", "w1", "c", "second"))]
    net = network([ends[0], *sigmoid, ends[1], helper.make_node("Relu", ["c"], ["y"])],
                  {"w0": (64, 30), "w1": (30, 20), "low": (), "high": ()}, [1, 64])
    assert runs(net, target) == [["first", "second"]]
    check(net, target)
