"""float16 and bfloat16 are computed in float32, and float16 is rounded where the file says so.

    inputs, outputs    keep the type of the file: a Cast behind each input, and one before each output
    weights            the same values, in float32
    Cast               to or from float16: rounded to it there, Cast(float16) -> Cast(float32); to or from bfloat16: nothing
    everything else    in float32, not rounded in between, as ONNX Runtime's CPU kernels do it (and as sums in registers are everywhere)

A rounding after every operator would not be nearer to what other engines compute: they fuse operators, each its own ones. It would keep
convolutions behind each other from becoming one kernel, though. A cast to bfloat16 and back is lost in TVM, or ends in a crash.
"""
from __future__ import annotations

from itertools import count

import numpy as np
from onnxscript import ir

from ...support.errors import TenfoldError

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")  # attributes that say the type of a result


def has_short(model: ir.Model) -> bool:
    """Whether a model has values of the short types."""
    graphs = [model.graph, *model.graph.subgraphs()]
    values = [value for graph in graphs for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())]
    named = [a for node in model.graph.all_nodes() for a in node.attributes.values() if _names_short(a) or _short_tensor(a) is not None]
    return bool(named) or any(value.dtype in HALVES for value in values)


def in_float32(model: ir.Model, name: str) -> None:
    """Rewrite the values of a model that are float16 or bfloat16, in place. Types of values must be known, as `infer_shapes` gives them.

    Raises
    ------
    TenfoldError
        An input or output is bfloat16, which NumPy does not have.
    """
    graph = model.graph
    for port in (*graph.inputs, *graph.outputs):
        if port.dtype == ir.DataType.BFLOAT16:
            raise TenfoldError(f"{name}: {port.name!r} is bfloat16, which NumPy does not have: make it float32, and cast it in the network")
    half = ir.DataType.FLOAT16
    casts = [node for node in graph.all_nodes() if _is_cast(node) and half in (node.inputs[0].dtype, _target(node))]
    already = {node for node in casts if node.inputs[0].dtype == half and _is_rounded(node.inputs[0])}
    inputs = [(value, value.dtype) for value in graph.inputs if value.dtype in HALVES]
    outputs = [(i, value, value.dtype) for i, value in enumerate(graph.outputs) if value.dtype in HALVES and not value.is_graph_input()]
    for part in (graph, *graph.subgraphs()):
        for value in list(part.initializers.values()):
            if value.dtype in HALVES:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            _lengthen(value)
        for value in () if part is graph else part.inputs:
            _lengthen(value)
    for node in graph.all_nodes():
        _rewrite_attributes(node)
        for value in node.outputs:
            _lengthen(value)
    for node in casts:
        if node not in already:
            _round(node)
    for value, _ in inputs:
        _lengthen_input(graph, value)
    for index, value, dtype in outputs:
        _shorten_output(graph, index, value, dtype)


def _is_cast(node: ir.Node) -> bool:
    return node.op_type == "Cast" and node.domain in ("", "ai.onnx")


def _target(node: ir.Node) -> ir.DataType:
    return ir.DataType(node.attributes.get_int("to", ir.DataType.FLOAT))


def _names_short(attribute: ir.Attr) -> bool:
    return attribute.name in TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT and attribute.value in HALVES


def _short_tensor(attribute: ir.Attr) -> ir.TensorProtocol | None:
    return attribute.value if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in HALVES else None


def _lengthen(value: ir.Value) -> None:
    if value.dtype in HALVES:
        value.type = ir.TensorType(ir.DataType.FLOAT)


def _rewrite_attributes(node: ir.Node) -> None:
    for attribute in list(node.attributes.values()):
        tensor = _short_tensor(attribute)
        if tensor is not None:
            node.attributes[attribute.name] = ir.AttrTensor(attribute.name, ir.tensor(tensor.numpy().astype(np.float32)))
        elif _names_short(attribute):
            node.attributes[attribute.name] = ir.AttrInt64(attribute.name, ir.DataType.FLOAT)


def _cast(x: ir.Value, to: ir.DataType) -> ir.Node:
    node = ir.node("Cast", [x], {"to": ir.AttrInt64("to", to)})
    node.outputs[0].shape, node.outputs[0].type = x.shape, ir.TensorType(to)
    return node


def _is_rounded(value: ir.Value) -> bool:
    """Whether a value of type float16 comes from outside, or from a cast."""
    return value.is_graph_input() or (value.producer() is not None and _is_cast(value.producer()))


def _round(node: ir.Node) -> None:
    """Put a cast to float16 in front of a Cast from it or to it, which goes on in float32."""
    rounding = _cast(node.inputs[0], ir.DataType.FLOAT16)
    node.graph.insert_before(node, rounding)
    node.replace_input_with(0, rounding.outputs[0])


def _lengthen_input(graph: ir.Graph, value: ir.Value) -> None:
    """Every reader but a Cast reads an input in float32."""
    node = _cast(value, ir.DataType.FLOAT)
    readers = [(user, index) for user, index in value.uses() if not _is_cast(user)]
    if readers:
        graph.insert_before(graph[0], node)
        for user, index in readers:
            user.replace_input_with(index, node.outputs[0])


def _shorten_output(graph: ir.Graph, index: int, value: ir.Value, dtype: ir.DataType) -> None:
    node = _cast(value, dtype)
    taken = {v.name for each in graph.all_nodes() for v in each.outputs} | {v.name for v in graph.inputs} | set(graph.initializers)
    node.outputs[0].name = value.name
    value.name = next(name for number in count(1) if (name := f"{value.name}.{number}") not in taken)
    graph.append(node)
    graph.outputs[index] = node.outputs[0]
