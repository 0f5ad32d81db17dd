"""A network as the box keeps it for its rival: nodes, and the shapes of weights."""
from __future__ import annotations

from typing import Any

import onnx
from onnx import helper, numpy_helper


def graph_of(model: onnx.ModelProto) -> dict[str, Any]:
    """Describe a network in normal form; ValueError for an operator that the box's rival lacks."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [_node(node, constants) for node in model.graph.node]
    used = {name for node in nodes for name in node["inputs"]}
    return {"input": model.graph.input[0].name, "output": model.graph.output[0].name, "nodes": nodes,
            "weights": {name: list(tensor.dims) for name, tensor in constants.items() if name in used}}


def _node(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> dict[str, Any]:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    inputs, facts = list(node.input), {}
    op = node.op_type
    if op in ("Conv", "MaxPool"):
        facts = {"strides": [*attributes.get("strides", [1, 1])], "pads": [*attributes.get("pads", [0] * 4)]}
    if op == "Conv":
        facts |= {"dilations": [*attributes.get("dilations", [1, 1])], "group": attributes.get("group", 1)}
    elif op == "MaxPool":
        facts |= {"kernel": [*attributes["kernel_shape"]], "ceil": bool(attributes.get("ceil_mode", 0))}
    elif op == "Clip":
        low, high = (float(numpy_helper.to_array(constants[name])) for name in inputs[1:])
        inputs, facts = inputs[:1], {"low": low, "high": high}
    elif op in ("GlobalAveragePool", "ReduceMean"):
        op, inputs = "Mean", inputs[:1]
    elif op in ("Flatten", "Reshape"):
        op, inputs = "Flatten", inputs[:1]
    elif op == "Gemm" and attributes.get("transB") != 1:
        raise ValueError("a Gemm with a weight that is not transposed")
    elif op not in ("Relu", "Add", "Gemm"):
        raise ValueError(f"{op}: the box's rival has no such operator")
    return {"op": op, "inputs": inputs, "output": node.output[0], **facts}
