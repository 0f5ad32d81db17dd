"""Conv -> Mul -> Add (batch norm, and the same written as arithmetic) -> Conv, with constants per channel.

    scale * (W x + b) + shift = (scale W) x + (scale b + shift)
"""
from __future__ import annotations

import numpy as np
from onnxscript import ir

from .initializers import ONNX, constant, initializer, set_constant


def fold_affine(model: ir.Model) -> None:
    """Fold per-channel scales and shifts into the Conv, ConvTranspose, Gemm or MatMul(+Add) before them, in place.

    A batch norm with no such layer before it becomes a Mul and an Add with constants. Sums are formed in float64. What does not
    stay finite in the dtype of the network is left as it is.
    """
    for node in list(model.graph):
        if node.domain not in ONNX:
            continue
        if node.op_type == "BatchNormalization":
            _fold_batch_norm(node)
        elif node.op_type in ("Mul", "Div", "Add", "Sub"):
            _fold_arithmetic(node)


def _fold_batch_norm(node: ir.Node) -> None:
    parameters = [constant(value) for value in node.inputs[1:5]]
    x = node.inputs[0]
    # Before opset 9, parameters may be one a pixel (spatial = 0).
    if x.shape is None or len(x.shape) < 2 or any(part is None or part.shape != (x.shape[1],) for part in parameters):
        return
    gamma, beta, mean, variance = parameters
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        shift = beta - mean * scale
    if not _finite(x, scale, shift):
        return
    if _fold(x, scale, shift):
        _bypass(node, x)
    elif (result := _fold_dense(x, scale, shift)) is not None:
        _bypass(node, result)
    else:
        form = (-1,) + (1,) * (len(x.shape) - 2)
        product = _insert(node, "Mul", x, scale.reshape(form), "scale")
        _bypass(node, _insert(node, "Add", product, shift.reshape(form), "shift"))


def _fold_arithmetic(node: ir.Node) -> None:
    if "broadcast" in node.attributes:  # before opset 7 a shape was aligned by an attribute
        return
    left, right = node.inputs
    x, value = (left, constant(right)) if constant(right) is not None else (right, constant(left))
    # a / x and a - x are not affine in x
    if value is None or (x is right and node.op_type in ("Div", "Sub")) or x.shape is None or len(x.shape) < 2:
        return
    producer = x.producer()
    # The bias of a Gemm is its own input; an Add after a MatMul already is the bias.
    if producer is None or producer.op_type not in ("Conv", "ConvTranspose"):
        return
    vector = _per_channel(value, x)
    if vector is None:
        return
    one, zero = np.ones_like(vector), np.zeros_like(vector)
    with np.errstate(all="ignore"):
        inverse = 1 / vector
    scale, shift = {"Mul": (vector, zero), "Div": (inverse, zero), "Add": (one, vector), "Sub": (one, -vector)}[node.op_type]
    if _finite(x, scale, shift) and _fold(x, scale, shift):
        _bypass(node, x)


def _per_channel(value: np.ndarray, x: ir.Value) -> np.ndarray | None:
    """`value` as one number a channel (axis 1 of `x`), or None if it broadcasts any other way."""
    rank, channels = len(x.shape), x.shape[1]
    if not isinstance(channels, int) or value.ndim > rank:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float64)


def _fold(x: ir.Value, scale: np.ndarray, shift: np.ndarray) -> bool:
    """Scale and shift, in place, the layer that computes `x`; False if no such layer is alone in front of `x`."""
    layer = _sole_producer(x)
    if layer is None or layer.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return False
    weight = constant(layer.inputs[1])
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    offset = constant(bias) if bias is not None else np.zeros(scale.shape)
    if weight is None or offset is None:
        return False
    if layer.op_type == "Gemm":  # its C may be of any shape that broadcasts to (rows, channels)
        weight = weight * (scale[:, None] if layer.attributes.get_int("transB", 0) else scale)
        offset = offset * layer.attributes.get_float("beta", 1.0)
    elif offset.shape != scale.shape:
        return False
    elif layer.op_type == "Conv":
        weight = weight * scale.reshape((-1,) + (1,) * (weight.ndim - 1))
    else:  # (in, out / groups, ...): each group of inputs makes its own outputs
        groups = layer.attributes.get_int("group", 1)
        parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        weight = (parts * scale.reshape((groups, 1, -1) + (1,) * (weight.ndim - 2))).reshape(weight.shape)
    offset = offset * scale + shift
    if not _finite(x, weight, offset):
        return False
    layer.attributes.pop("beta", None)
    set_constant(layer, 1, weight)
    set_constant(layer, 2, offset)
    return True


def _fold_dense(x: ir.Value, scale: np.ndarray, shift: np.ndarray) -> ir.Value | None:
    """`_fold` for MatMul, with or without a constant Add: (rows, channels) only, since axis 1 must be the channels.

    Returns the value that now holds the scaled and shifted result.
    """
    layer, add, index = _sole_producer(x), None, 1
    if layer is not None and layer.op_type == "Add":
        add, index = layer, 1 if constant(layer.inputs[1]) is not None else 0
        layer = _sole_producer(add.inputs[1 - index])
    if layer is None or layer.op_type != "MatMul" or x.shape is None or len(x.shape) != 2:
        return None
    weight = constant(layer.inputs[1])
    offset = constant(add.inputs[index]) if add is not None else np.zeros(scale.shape)
    if weight is None or weight.ndim != 2 or weight.shape[1:] != scale.shape or offset is None:
        return None
    weight, offset = weight * scale, offset * scale + shift  # the constant may be of any shape that broadcasts, as a C of Gemm
    if not _finite(x, weight, offset):
        return None
    set_constant(layer, 1, weight)
    if add is None:
        (consumer, _), = x.uses()
        return _insert(consumer, "Add", x, shift, "shift")
    set_constant(add, index, offset)
    return x


def _finite(x: ir.Value, *arrays: np.ndarray) -> bool:
    """Whether the arrays stay finite in the dtype of `x`."""
    dtype = x.dtype.numpy() if x.dtype is not None else np.float32
    with np.errstate(over="ignore"):
        return all(np.isfinite(array.astype(dtype)).all() for array in arrays)


def _sole_producer(x: ir.Value) -> ir.Node | None:
    node = x.producer()
    alone = node is not None and len(x.uses()) == 1 and not x.is_graph_output() and node.domain in ONNX
    return node if alone else None


def _insert(before: ir.Node, op_type: str, x: ir.Value, array: np.ndarray, suffix: str) -> ir.Value:
    dtype = x.dtype.numpy() if x.dtype is not None else np.float32
    other = initializer(before.graph, f"{before.name or before.outputs[0].name}.{suffix}", np.ascontiguousarray(array, dtype=dtype))
    node = ir.node(op_type, [x, other])
    node.outputs[0].shape, node.outputs[0].type = x.shape, x.type
    node.outputs[0].name = f"{before.outputs[0].name}.{suffix}"
    before.graph.insert_before(before, node)
    return node.outputs[0]


def _bypass(node: ir.Node, x: ir.Value) -> None:
    """Remove `node`; `x` takes its place and, where that is a graph output, its name."""
    old = node.outputs[0]
    name = old.name
    ir.convenience.replace_all_uses_with(old, x, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    if x.is_graph_output():
        x.name = name
