"""What QuantizeLinear and DequantizeLinear make of constants, in NumPy, for every opset that has them.

Per tensor, per axis, and in blocks (ONNX operator specification, DequantizeLinear-21):

    dequantize: (x - zero_point) * scale        quantize: saturate(round_half_to_even(x / scale) + zero_point)
"""
from __future__ import annotations

import numpy as np
from onnxscript import ir

Arrays = list["np.ndarray | None"]


def dequantize(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    """The output of a DequantizeLinear, in the dtype that it declares or that of its scale."""
    x, scale = _given(inputs[0]), _given(inputs[1])
    zero_point = inputs[2] if len(inputs) > 2 else None
    spread_scale, offset = _spread(node, x, scale), _offset(node, x, zero_point)
    if spread_scale is None or offset is None:
        return None
    integers = x.astype(np.float32) if _bounds(x.dtype) is None else x.astype(np.int64)
    return ((integers - offset).astype(np.float32) * spread_scale.astype(np.float32)).astype(_declared(node, scale.dtype))


def quantize(node: ir.Node, inputs: Arrays) -> np.ndarray | None:
    """The output of a QuantizeLinear to integers; None where it is to floating-point numbers of eight bits or fewer."""
    x, scale = _given(inputs[0]), _given(inputs[1])
    zero_point = inputs[2] if len(inputs) > 2 else None
    dtype = _declared(node, np.dtype(np.uint8) if zero_point is None else zero_point.dtype)
    spread_scale, offset, bounds = _spread(node, x, scale), _offset(node, x, zero_point), _bounds(dtype)
    if spread_scale is None or offset is None or bounds is None:
        return None
    with np.errstate(all="ignore"):  # a scale of 0 is the file's
        steps = np.rint(x.astype(np.float32) / spread_scale.astype(np.float32)).astype(np.float64) + offset
    return np.clip(np.nan_to_num(steps, nan=0.0), *bounds).astype(np.int64).astype(dtype)


def _given(array: np.ndarray | None) -> np.ndarray:
    assert array is not None  # the gate lets no node pass that lacks an input
    return array


def _offset(node: ir.Node, x: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray | None:
    if zero_point is None:
        return np.zeros((), np.int64)
    spread = _spread(node, x, zero_point)
    return None if spread is None else spread.astype(np.float32 if _bounds(zero_point.dtype) is None else np.int64)


def _spread(node: ir.Node, x: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Scales or zero points so that they broadcast against `x`; None if their shape does not fit."""
    if values.size == 1 and values.ndim <= 1:
        return values.reshape(())
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    if not -x.ndim <= axis < x.ndim:
        return None
    axis %= x.ndim
    if values.ndim == 1 and not block:
        return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)]) if len(values) == x.shape[axis] else None
    if not block or values.ndim != x.ndim or values.shape[axis] != -(-x.shape[axis] // block):
        return None
    spread = np.repeat(values, block, axis).take(range(x.shape[axis]), axis)
    return spread if spread.shape == x.shape else None


def _declared(node: ir.Node, default: np.dtype) -> np.dtype:
    code = node.attributes.get_int("output_dtype", 0)
    return ir.DataType(code).numpy() if code else default


def _bounds(dtype: np.dtype) -> tuple[int, int] | None:
    """The smallest and the largest of a type of integers, None for other types."""
    kind = ir.DataType.from_numpy(dtype)
    if not kind.is_integer():
        return None
    return (-(1 << kind.bitwidth - 1), (1 << kind.bitwidth - 1) - 1) if kind.is_signed() else (0, (1 << kind.bitwidth) - 1)
