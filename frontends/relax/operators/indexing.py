"""Operators that pick, repeat, order or reduce elements."""
from __future__ import annotations

import numpy as np
import onnx
from tvm import relax

from ....support.errors import TenfoldError
from .common import Attributes, Converter, Inputs, const, dtype_of, shape_of, value_of

op = relax.op

# The dtypes that TVM's sort has code for; others are ordered as one of these that holds all their values.
SORT_DTYPES = {"uint8": "int32", "int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64", "float16": "float32"}


def _constant(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Constants written as numbers. Of an empty list nothing arrives: it is a list of sizes."""
    for key, dtype in (("value_float", "float32"), ("value_floats", "float32"), ("value_int", "int64"), ("value_ints", "int64")):
        if key in attrs:
            return relax.const(np.asarray(attrs[key], dtype), dtype)
    return None if set(attrs) - {"tvm_custom"} else relax.const(np.zeros(0, "int64"), "int64")


def _gather(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Constant indices are checked here, so that the kernel need not trust them."""
    data, indices = inputs[0], value_of(inputs[1])
    if indices is None or not isinstance(data.ty, relax.TensorType) or value_of(data) is not None:
        return None
    axis = attrs.get("axis", 0) % data.ty.ndim
    size = shape_of(data)[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise TenfoldError(f"an index is out of range: axis {axis} has {size} entries")
    return op.take(data, const(np.mod(indices, size)), axis=axis, mode="clip")


def _tile(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Convert Tile to a gather along each axis.

    TVM's own tile gives wrong elements on AVX-512: LLVM 22 takes a vector of indices ``i % n`` wrong.
    """
    x, repeats = inputs[0], value_of(inputs[1])
    if repeats is None:
        return None
    for axis, (size, times) in enumerate(zip(shape_of(x), repeats, strict=True)):
        if times != 1:
            x = bb.emit(op.take(x, const(np.tile(np.arange(size), int(times))), axis=axis, mode="clip"))
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
    ordered = bb.emit(op.astype(data, SORT_DTYPES[dtype])) if dtype in SORT_DTYPES else data
    best = bb.emit(op.topk(ordered, int(k.item()), axis, ret_type="both", largest=bool(attrs.get("largest", 1)), dtype="int64"))
    return best if ordered is data else relax.Tuple([bb.emit(op.astype(bb.emit(best[0]), dtype)), bb.emit(best[1])])


def _one_hot(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    """Negative indices count from the end; what is out of range is off everywhere."""
    indices, depth, values = inputs
    given = value_of(depth)
    if given is None:
        raise TenfoldError("depth computed from the data is not supported: make it a constant")
    depth, rank = int(given.item()), indices.ty.ndim
    axis = int(attrs.get("axis", -1)) % (rank + 1)
    indices = bb.emit(op.astype(indices, "int64"))
    wrapped = bb.emit(op.where(op.less(indices, relax.const(0, "int64")), op.add(indices, relax.const(depth, "int64")), indices))
    each = relax.const(np.arange(depth).reshape([-1 if i == axis else 1 for i in range(rank + 1)]), "int64")
    hot = bb.emit(op.equal(op.expand_dims(wrapped, axis), each))
    off, on = (bb.emit(op.squeeze(op.strided_slice(values, [0], [i], [i + 1]), [0])) for i in range(2))
    return op.where(hot, on, off)


def _eye_like(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    dtype = attrs.get("dtype")
    dtype = dtype_of(inputs[0]) if dtype is None else str(onnx.helper.tensor_dtype_to_np_dtype(int(dtype)))
    rows, columns = shape_of(inputs[0])
    return relax.const(np.eye(rows, columns, k=int(attrs.get("k", 0)), dtype=dtype), dtype)


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


INDEXING: dict[str, Converter] = {
    "Constant": _constant,
    "Gather": _gather,
    "Tile": _tile,
    "TopK": _top_k,
    "OneHot": _one_hot,
    "EyeLike": _eye_like,
    "ReduceMax": _reduce_bool("max"),
    "ReduceMin": _reduce_bool("min"),
}
