"""What stands behind each layer element by element."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tenfold.frontends import load
from tenfold.passes.epilogues import epilogues


def network(*nodes, opset=17):
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "s": (1, 8, 1, 1), "low": (), "high": ()}
    constants = {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    constants |= {"low": np.float32(0), "high": np.float32(6)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]), *nodes]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    used = {name for node in nodes for name in node.input}
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)).mod


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, **attributes)


@pytest.mark.parametrize(
    ("nodes", "steps"),
    [
        ([node("Relu", ["c"], ["y"])], ("relax.add", "relax.nn.relu")),
        ([node("Clip", ["c", "low", "high"], ["y"])], ("relax.add", "relax.clip 0 6")),
        ([node("Sigmoid", ["c"], ["t"]), node("Tanh", ["t"], ["y"])], ("relax.add", "relax.sigmoid", "relax.tanh")),
        # The pool ends it, and so do a second reader and an operand that is no constant.
        ([node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2]), node("Relu", ["p"], ["y"])], ("relax.add",)),
        ([node("Relu", ["c"], ["r"]), node("Tanh", ["r"], ["t"]), node("Add", ["t", "r"], ["y"])], ("relax.add", "relax.nn.relu")),
    ],
)
def test_steps_behind_a_convolution(nodes, steps):
    assert epilogues(network(*nodes))["conv"] == steps


def test_a_layer_with_nothing_behind_it():
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])
    weight = numpy_helper.from_array(np.ones((3, 2), "float32"), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], "net", [x], [y], [weight])
    mod = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)).mod
    assert "fc" not in epilogues(mod)
