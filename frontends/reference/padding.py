"""A copy of a model with the padding of ``auto_pad`` written out, for engines that don't know it of dilated windows.

The sizes come from ONNX's own shape inference; `frontends.onnx.explicit_pads`, which the compiler relies on, has no part in it.
"""
from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

PADDED_OPERATORS = ("Conv", "MaxPool", "AveragePool", "LpPool")
SAME_PADS = (b"SAME_UPPER", b"SAME_LOWER")


def asks(model: onnx.ModelProto) -> bool:
    """Whether a node of the model leaves its padding to ``auto_pad``."""
    return any(_value(node, "auto_pad") in SAME_PADS for node in model.graph.node if node.op_type in PADDED_OPERATORS)


def with_explicit_pads(model: onnx.ModelProto, inputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The copy, for inputs of the sizes given. A node whose input is of unknown size keeps its ``auto_pad``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        if value.name in inputs:
            sizes = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in inputs[value.name]]
            value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    shapes = {v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in copy.graph.initializer}
    for node in copy.graph.node:
        kind = _value(node, "auto_pad")
        size = shapes.get(node.input[0], [])[2:] if node.op_type in PADDED_OPERATORS and kind in SAME_PADS else []
        kernel = _value(node, "kernel_shape") or (shapes.get(node.input[1], [])[2:] if node.op_type == "Conv" else [])
        if size and all(size) and len(kernel) == len(size):
            _write_out(node, size, kernel, lower=kind == b"SAME_LOWER")
    return copy


def _write_out(node: onnx.NodeProto, size: list[int], kernel: list[int], lower: bool) -> None:
    ones = [1] * len(size)
    strides, dilations = _value(node, "strides") or ones, _value(node, "dilations") or ones
    before, after = [], []
    for i, k, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        outputs = -(-i // stride)
        total = max(0, (outputs - 1) * stride + (k - 1) * dilation + 1 - i)
        small, large = total // 2, total - total // 2
        before.append(large if lower else small)
        after.append(small if lower else large)
    kept = [attribute for attribute in node.attribute if attribute.name not in ("auto_pad", "pads")]
    kept.append(helper.make_attribute("pads", before + after))
    kept = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend(kept)


def _value(node: onnx.NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name), None)
