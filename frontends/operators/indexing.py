"""Operators that pick, repeat, order or reduce elements."""
from __future__ import annotations

import numpy as np
from tvm import relax

from ...errors import TenfoldError
from .common import Attributes, Converter, Inputs, dtype_of, shape_of, value_of

op = relax.op

# The dtypes that TVM's sort has code for; others are ordered as one of these that holds all their values.
SORTED = {"uint8": "int32", "int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64", "float16": "float32"}


def _gather(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Constant indices are checked here, so that the kernel need not trust them."""
    data, indices = inputs[0], value_of(inputs[1])
    if indices is None or not isinstance(data.ty, relax.TensorType) or value_of(data) is not None:
        return None
    axis = attrs.get("axis", 0) % data.ty.ndim
    size = shape_of(data)[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise TenfoldError(f"an index is out of range: axis {axis} has {size} entries")
    return op.take(data, relax.const(np.mod(indices, size)), axis=axis, mode="clip")


def _tile(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """As a gather along each axis: LLVM 22 takes a vector of indices ``i % n`` wrong on AVX-512 (TVM's own tile gives other elements)."""
    x, repeats = inputs[0], value_of(inputs[1])
    if repeats is None:
        return None
    for axis, (size, times) in enumerate(zip(shape_of(x), repeats, strict=True)):
        if times != 1:
            x = bb.emit(op.take(x, relax.const(np.tile(np.arange(size), int(times))), axis=axis, mode="clip"))
    return x


def _top_k(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """The order of what is not asked to be sorted is free: it is sorted."""
    data, dtype = inputs[0], dtype_of(inputs[0])
    k = np.asarray(attrs["k"]) if "k" in attrs else value_of(inputs[1])
    if k is None:
        raise TenfoldError("k computed from the data is not supported: make it a constant")
    axis = int(attrs.get("axis", -1))
    if not 1 <= int(k.item()) <= shape_of(data)[axis]:
        raise TenfoldError(f"k is {int(k.item())}: axis {axis} has {shape_of(data)[axis]} entries")
    if dtype in ("bool", "uint64"):
        raise TenfoldError(f"{dtype} can't be ordered: cast its input to int64")
    ordered = bb.emit(op.astype(data, SORTED[dtype])) if dtype in SORTED else data
    best = bb.emit(op.topk(ordered, int(k.item()), axis, ret_type="both", largest=bool(attrs.get("largest", 1)), dtype="int64"))
    return best if ordered is data else relax.Tuple([bb.emit(op.astype(bb.emit(best[0]), dtype)), bb.emit(best[1])])


def _reduce_bool(operator: str) -> Converter:
    """The least and the largest of booleans, as 0 and 1; of other dtypes it is TVM's."""

    def convert(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
        if dtype_of(inputs[0]) != "bool":
            return None
        axes = attrs.get("axes") if len(inputs) < 2 or inputs[1] is None else value_of(inputs[1])
        if axes is None and len(inputs) > 1 and inputs[1] is not None:
            raise TenfoldError("axes computed from the data are not supported")
        axes = [int(axis) for axis in axes] if axes is not None and len(axes) else None
        if axes is None and attrs.get("noop_with_empty_axes", 0):
            return inputs[0]
        numbers = bb.emit(op.astype(inputs[0], "int32"))
        return op.astype(bb.emit(getattr(op, operator)(numbers, axes, bool(attrs.get("keepdims", 1)))), "bool")

    return convert


def _layer_norm(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """With the mean and the inverse deviation, where they are used; TVM's has no such outputs."""
    outputs = attrs["tvm_custom"]["num_outputs"]
    if outputs < 2:
        return None
    x, scale, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    axes = list(range(int(attrs.get("axis", -1)) % x.ty.ndim, x.ty.ndim))
    mean = bb.emit(op.mean(x, axes, keepdims=True))
    centred = bb.emit(op.subtract(x, mean))
    variance = bb.emit(op.mean(op.multiply(centred, centred), axes, keepdims=True))
    inverse = bb.emit(op.rsqrt(op.add(variance, relax.const(attrs.get("epsilon", 1e-5), dtype_of(x)))))
    result = bb.emit(op.multiply(op.multiply(centred, inverse), scale))
    result = result if bias is None else bb.emit(op.add(result, bias))
    return relax.Tuple([result, mean, inverse][:outputs])


INDEXING: dict[str, Converter] = {
    "Gather": _gather,
    "Tile": _tile,
    "TopK": _top_k,
    "ReduceMax": _reduce_bool("max"),
    "ReduceMin": _reduce_bool("min"),
    "LayerNormalization": _layer_norm,
}
