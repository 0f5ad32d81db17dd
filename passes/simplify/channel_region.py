"""Values whose channels belong together: from the layers that make them to those that read them, through what works channel by channel.

    Conv -> Relu ------------+-> Add -> Conv          one region: channel c of each of these values is
    Conv -> depthwise Conv --+                        channel c of every other one
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnxscript import ir

from ...frontends.onnx.initializers import is_constant
from .editing import is_float, operator, sizes
from .global_average import is_global_average
from .linear import Linear, affine_step, linear

ELEMENTWISE = frozenset(
    ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign",
     "Mish", "Gelu", "Erf", "Clip", "Abs", "Neg")
)
POOLS = frozenset(("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMean"))
TWO = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min"))
UNKNOWN = np.nan  # in `Region.constants`: the channel is not constant


@dataclass
class Region:
    """Values with common channels.

    Attributes
    ----------
    channels : int
    values : dict of ir.Value to ndarray
        For each channel that is the same at every place for every input, its value, where `settle` was called; `UNKNOWN` for the others.
    makers, readers : list of Linear
        The layers before and behind.
    inner : list of ir.Node
        What is between.
    flat : dict of ir.Node to int
        A Reshape or Flatten before a dense layer, and how many numbers of each channel it puts beside each other.
    """

    channels: int
    values: dict[ir.Value, np.ndarray] = field(default_factory=dict)
    makers: list[Linear] = field(default_factory=list)
    readers: list[Linear] = field(default_factory=list)
    inner: list[ir.Node] = field(default_factory=list)
    flat: dict[ir.Node, int] = field(default_factory=dict)


def region_of(value: ir.Value) -> Region | None:
    """The region of what a layer makes, or None where channels can't be taken out of it."""
    region, waiting = Region((sizes(value) or (0, 0))[1]), [value]
    while waiting:
        current = waiting.pop()
        if current in region.values:
            continue
        if current.is_graph_output() or not is_float(current) or current.producer() is None:
            return None
        region.values[current] = np.full(region.channels, UNKNOWN)
        found = _before(current, region)
        behind = None if found is None else _behind(current, region)
        if found is None or behind is None:
            return None
        waiting += found + behind
    order = {node: number for number, node in enumerate(value.producer().graph)}
    region.inner.sort(key=order.__getitem__)
    return region


def _before(value: ir.Value, region: Region) -> list[ir.Value] | None:
    """The values of the region that the producer of a value reads; None where that ends a region of another kind."""
    node = value.producer()
    rank = len(sizes(value) or ())
    if node in region.flat:
        return []
    layer = linear(node, rank == 2)
    if layer is not None and layer.layer is not None and layer.grid.groups == 1 and _channels(value) == region.channels:
        region.makers.append(layer)
        return []
    data = data_inputs(node, region.channels)
    if data is None or _channels(value) != region.channels:
        return None
    region.inner.append(node)
    return data


def _behind(value: ir.Value, region: Region) -> list[ir.Value] | None:
    """The values of the region that the readers of a value make; None where one of them needs its channels as they are."""
    found, shape = [], sizes(value) or ()
    for node, index in value.uses():
        layer = linear(node, len(shape) == 2) if node.graph is value.producer().graph else None
        if layer is not None and layer.layer is not None and layer.grid.groups == 1 and index == 0:
            region.readers.append(layer)
        elif value.producer() in region.flat:
            return None
        elif operator(node) in ("Flatten", "Reshape") and index == 0 and _flattens(node, shape):
            region.flat[node] = int(np.prod(shape[2:], dtype=int))
            found.append(node.outputs[0])
        elif data_inputs(node, region.channels) is not None:
            found.append(node.outputs[0])
        else:
            return None
    return found


def _flattens(node: ir.Node, shape: tuple[int, ...]) -> bool:
    return is_float(node.outputs[0]) and sizes(node.outputs[0]) == (shape[0], int(np.prod(shape[1:], dtype=int)))


def _channels(value: ir.Value) -> int:
    return (sizes(value) or (0, 0))[1]


def data_inputs(node: ir.Node, channels: int) -> list[ir.Value] | None:
    """The values that a node works on channel by channel, or None for any other node.

    Parameters
    ----------
    node : ir.Node
    channels : int
    """
    kind, result = operator(node), node.outputs[0]
    if len([value for value in node.outputs if value.name and value.uses()]) > 1 or not is_float(result) or _channels(result) != channels:
        return None
    if kind in ELEMENTWISE:
        plain = sizes(node.inputs[0]) == sizes(result) and all(value is None or is_constant(value) for value in node.inputs[1:])
        return [node.inputs[0]] if plain else None
    if kind in POOLS:
        if kind == "ReduceMean" and (not is_global_average(node) or not node.attributes.get_int("keepdims", 1)):
            return None
        return [node.inputs[0]]
    if kind in TWO and len(node.inputs) == 2:
        if (step := affine_step(node, False)) is not None:
            return [step[0]]
        rank = len(sizes(result) or ())
        whole = all(not is_constant(value) and is_float(value) and len(sizes(value) or ()) == rank for value in node.inputs)
        return list(node.inputs) if whole and all(_channels(value) == channels for value in node.inputs) else None
    layer = linear(node, False) if kind == "Conv" else None
    depthwise = layer is not None and layer.grid.groups == layer.grid.inputs == layer.grid.outputs == channels
    return [node.inputs[0]] if depthwise and channels > 1 else None


def weight_of(node: ir.Node) -> np.ndarray:
    """The weight of a layer as it is stored, seen as (outputs, inputs of a group, taps)."""
    weight = node.inputs[1].const_value.numpy()
    if operator(node) == "MatMul" or (operator(node) == "Gemm" and not node.attributes.get_int("transB", 0)):
        weight = weight.T
    return weight.reshape(*weight.shape[:2], -1)


def settle(region: Region) -> None:
    """Work out which channels are constant: weights that are zero make them so, and what follows keeps them so."""
    for layer in region.makers:
        dead = ~weight_of(layer.nodes[0]).any(axis=(1, 2))
        region.values[layer.result] = np.where(dead, layer.offset, UNKNOWN)
    for node in region.inner:
        region.values[node.outputs[0]] = _constants(node, region)
    for node in region.flat:
        region.values[node.outputs[0]] = region.values[node.inputs[0]]


def _constants(node: ir.Node, region: Region) -> np.ndarray:
    """The constants behind a node."""
    kind = operator(node)
    data = [region.values[value] for value in data_inputs(node, region.channels) or ()]
    if kind in POOLS:
        pads = any(node.attributes.get_ints("pads", ())) and node.attributes.get_int("count_include_pad", 0)
        return np.where(data[0] == 0, 0.0, UNKNOWN) if pads else data[0]
    if kind == "Conv":
        layer = linear(node, False)
        assert layer is not None
        taps = weight_of(node)[:, 0]
        known = np.where(np.isnan(data[0]), 0, data[0])
        steady = ~taps.any(axis=1) | (~np.isnan(data[0]) & ((known == 0) | (not layer.grid.padded)))
        return np.where(steady, layer.offset + taps.sum(axis=1, dtype=np.float64) * known, UNKNOWN)
    if (step := affine_step(node, False)) is not None:
        _, scale, shift = step
        return np.where(scale == 0, shift, data[0] * scale + shift)
    return _evaluated(node, data)


def _evaluated(node: ir.Node, data: list[np.ndarray]) -> np.ndarray:
    """What an element-wise node makes of constants, by onnx's reference implementation; NaN where one is unknown."""
    from onnx.reference import ReferenceEvaluator

    opsets = node.graph.opset_imports
    names = ["" if value is None else f"input{number}" for number, value in enumerate(node.inputs)]
    dtype, rest = node.outputs[0].dtype.numpy(), iter(data)
    feeds: dict[str, np.ndarray] = {}
    for name, value in zip(names, node.inputs, strict=True):
        if value is not None:
            feeds[name] = value.const_value.numpy() if is_constant(value) else next(rest).astype(dtype)
    proto = ir.serde.serialize_node(node)
    single = onnx.NodeProto(op_type=proto.op_type, domain=proto.domain, input=names, output=["y"], attribute=proto.attribute)
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for name, x in feeds.items()]
    graph = onnx.helper.make_graph([single], "constants", inputs, [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", int(opsets.get("") or opsets.get("ai.onnx") or 17))])
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(list(ReferenceEvaluator(model).run(None, feeds))[0], np.float64)
    except Exception:  # an operator that it does not have
        return np.full(data[0].shape, UNKNOWN)
    known = ~np.isnan(np.sum(data, axis=0))
    return np.where(known & np.isfinite(found), found, UNKNOWN)
