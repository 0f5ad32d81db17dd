"""What the tests of exact rewrites share: a model simplified, and its outputs held against ONNX Runtime on the model as it was given."""
from __future__ import annotations

import numpy as np
import onnx
from frontend_checks import assert_same, example
from onnx import helper, numpy_helper
from tenfold.frontends import load
from tenfold.passes.simplify import chosen, simplify_onnx


class Builder:
    """Makes a model node by node; names of values are those of its nodes."""

    def __init__(self, *shape: int, seed: int = 0, opset: int = 17):
        self.rng, self.nodes, self.constants, self.opset = np.random.default_rng(seed), [], [], opset
        self.inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]

    def constant(self, name: str, value) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, name: str, *shape: int, scale: float = 1.0) -> str:
        return self.constant(name, (scale * self.rng.standard_normal(shape)).astype("float32"))

    def add(self, op_type: str, *inputs: str, name: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [f"{name}_y"], name=name, **attributes))
        return f"{name}_y"

    def conv(self, x: str, name: str, outputs: int, inputs: int, kernel=(3, 3), bias: bool = True, group: int = 1, **attributes) -> str:
        weight = self.normal(f"{name}.weight", outputs, inputs // group, *kernel)
        extra = [self.normal(f"{name}.bias", outputs)] if bias else []
        return self.add("Conv", x, weight, *extra, name=name, group=group, **attributes)

    def channelwise(self, op_type: str, x: str, name: str, count: int) -> str:
        return self.add(op_type, x, self.constant(f"{name}.c", self.rng.uniform(0.5, 2, (count, 1, 1)).astype("float32")), name=name)

    def batch_norm(self, x: str, name: str, count: int) -> str:
        numbers = [self.rng.uniform(0.5, 2, count).astype("float32") for _ in range(4)]
        return self.add("BatchNormalization", x, *(self.constant(f"{name}.{i}", n) for i, n in enumerate(numbers)), name=name)

    def model(self, *outputs: str) -> onnx.ModelProto:
        values = [onnx.ValueInfoProto(name=name) for name in outputs]
        for value in values:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "g", self.inputs, values, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def simplified(model: onnx.ModelProto, only=None, without=(), tolerance: float = 1e-5):
    """The model after the rewrites, which computes the same, is sound, and is not rewritten once more; and what was merged."""
    network = load(model)
    small, found = simplify_onnx(network.onnx, chosen(only, without))
    onnx.checker.check_model(small, full_check=True)
    x = example(network)
    want = network.reference(x)
    got = run(small, x)
    assert_same(got, want, [spec.name for spec in network.outputs], tolerance)
    assert [value.name for value in small.graph.output] == [spec.name for spec in network.outputs]
    assert not simplify_onnx(small, chosen(only, without))[1].merges
    before, after = found.before, found.after
    assert after.macs <= before.macs
    for figure in ("nodes", "macs", "params"):
        assert getattr(before, figure) - getattr(after, figure) == sum(getattr(merge, figure) for merge in found.merges)
    return small, found


def run(model: onnx.ModelProto, x: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, x)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def attribute(node: onnx.NodeProto, name: str):
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)
