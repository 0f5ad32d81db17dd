"""SiLU that an exporter wrote as a product: what becomes one operator, and what that makes one kernel."""
from __future__ import annotations

import pytest
from fusion_checks import check, conv, kernels, network
from onnx import helper
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of

SHAPES = {"w0": (96, 16, 1, 1), "w1": (96, 1, 3, 3), "w2": (16, 96, 1, 1)}


def silu(value, result, turned=False):
    gate = f"{value}_gate"
    return [helper.make_node("Sigmoid", [value], [gate]), helper.make_node("Mul", [gate, value] if turned else [value, gate], [result])]


def operators(net, target):
    main = lower(net.mod, backend_of(target), until="composites")["main"]
    return [binding.value.op.name for block in main.body.blocks for binding in block.bindings if hasattr(binding.value, "op")]


@pytest.mark.quick(2)
@pytest.mark.parametrize("turned", [False, True])
def test_a_block_with_silu_is_one_kernel_as_with_relu(turned, target):
    nodes = [conv("expand", ["x", "w0"], "a"), *silu("a", "as", turned), conv("depthwise", ["as", "w1"], "b", group=96, pads=[1] * 4),
             *silu("b", "bs", turned), conv("project", ["bs", "w2"], "y")]
    net = network(nodes, SHAPES, [1, 16, 28, 28])
    assert operators(net, target).count("relax.nn.silu") == 2 and "relax.sigmoid" not in operators(net, target)
    relu = [node if node.op_type != "Mul" else helper.make_node("Relu", [node.input[turned]], node.output) for node in nodes
            if node.op_type != "Sigmoid"]
    count = len(kernels(network(relu, SHAPES, [1, 16, 28, 28]), target))
    assert len(kernels(net, target)) == count
    check(net, target)


def test_the_sigmoid_of_another_value_is_no_silu(target):
    nodes = [conv("expand", ["x", "w0"], "a"), helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Sigmoid", ["r"], ["s"]),
             helper.make_node("Mul", ["a", "s"], ["y"])]
    net = network(nodes, SHAPES, [1, 16, 8, 8])
    assert "relax.nn.silu" not in operators(net, target)
    check(net, target)


def test_a_sigmoid_that_is_also_an_output_stays(target):
    nodes = [conv("expand", ["x", "w0"], "a"), *silu("a", "y")]
    net = network(nodes, SHAPES, [1, 16, 8, 8], outputs=("y", "a_gate"))
    assert {"relax.nn.silu", "relax.sigmoid"} <= set(operators(net, target))
    check(net, target)
