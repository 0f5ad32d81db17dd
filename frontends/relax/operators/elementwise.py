"""Element-wise operators where TVM's converters lose an attribute, a dtype or the order of ONNX."""
from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from tvm import relax

from .common import Attributes, Converter, Inputs, dtype_of, value_of

op = relax.op


def _clip(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """min(max(x, low), high), in this order: where low > high every element is high. A bound that is NaN is none, as in ONNX Runtime.

    Bounds are attributes before opset 11, inputs after; constant ones make relax.clip or relax.nn.relu.
    """
    x, dtype = inputs[0], dtype_of(inputs[0])
    if "min" in attrs or "max" in attrs:
        given = [None if key not in attrs else np.asarray(attrs[key]) for key in ("min", "max")]
    else:
        given = [None if bound is None else value_of(bound) for bound in inputs[1:3]]
        if any(bound is not None and value is None for bound, value in zip(inputs[1:3], given, strict=True)):
            for operator, bound in zip((op.maximum, op.minimum), inputs[1:3], strict=True):
                x = x if bound is None else bb.emit(operator(x, bound))
            return x
    low, high = (None if value is None or value.astype("float64") != value.astype("float64") else value.item() for value in given)
    if low == 0 and high is None and dtype == "float32":
        return op.nn.relu(x)
    if low is not None and high is not None and low <= high and dtype == "float32":
        return op.clip(x, low, high)
    if low is not None:
        x = bb.emit(op.maximum(x, relax.const(low, dtype)))
    return x if high is None else op.minimum(x, relax.const(high, dtype))


def _variadic(operator: Callable[[relax.Expr, relax.Expr], relax.Expr], mean: bool = False) -> Converter:
    """Sum, Min, Max and Mean as a row of binary operators."""

    def convert(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
        total = functools.reduce(lambda a, b: bb.emit(operator(a, b)), list(inputs))
        return op.multiply(total, relax.const(1.0 / len(inputs), total.ty.dtype.dtype)) if mean else total

    return convert


def _pow(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """The result has the dtype of the base. Whole numbers are raised in float64, as ONNX Runtime does it."""
    base, exponent = inputs
    dtype = dtype_of(base)
    if dtype.startswith("float"):
        return None if dtype_of(exponent) == dtype else op.power(base, bb.emit(op.astype(exponent, dtype)))
    base, exponent = (bb.emit(op.astype(x, "float64")) for x in (base, exponent))
    return op.astype(bb.emit(op.power(base, exponent)), dtype)


def _mod(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """fmod = 0 of floats: the remainder of the truncated division, moved by the divisor where it has the other sign."""
    x, y = inputs
    dtype = dtype_of(x)
    if attrs.get("fmod", 0) or not dtype.startswith("float"):
        return None
    rest = bb.emit(op.mod(x, y))
    zero = relax.const(0, dtype)
    other_sign = bb.emit(op.logical_xor(op.less(rest, zero), op.less(y, zero)))
    return op.where(op.logical_and(other_sign, op.not_equal(rest, zero)), op.add(rest, y), rest)


def _bit_shift(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """A shift by the width or more, or by a negative number, leaves nothing but the sign: the processor would take it modulo the width."""
    x, by = inputs
    dtype, left = dtype_of(x), attrs["direction"] in (b"LEFT", "LEFT")
    width, signed = int(np.dtype(dtype).itemsize * 8), not dtype.startswith("u")
    inside = op.less(by, relax.const(width, dtype))
    inside = bb.emit(op.logical_and(inside, op.greater_equal(by, relax.const(0, dtype))) if signed else inside)
    if signed and not left:
        return op.right_shift(x, bb.emit(op.where(inside, by, relax.const(width - 1, dtype))))
    shifted = bb.emit((op.left_shift if left else op.right_shift)(x, by))
    return op.where(inside, shifted, relax.const(0, dtype))


def _is_inf(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    x, infinity = inputs[0], relax.const(np.inf, dtype_of(inputs[0]))
    signs = [(attrs.get("detect_positive", 1), infinity), (attrs.get("detect_negative", 1), relax.const(-np.inf, dtype_of(x)))]
    found = [bb.emit(op.equal(x, value)) for wanted, value in signs if wanted]
    return functools.reduce(op.logical_or, found) if found else op.less(x, x)


def _sign(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Convert Sign of unsigned numbers: TVM would form -1 of them."""
    x, dtype = inputs[0], dtype_of(inputs[0])
    return op.astype(op.greater(x, relax.const(0, dtype)), dtype) if dtype.startswith("u") else None


def _shrink(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Convert Shrink of unsigned numbers: none of them lies below."""
    x, dtype = inputs[0], dtype_of(inputs[0])
    if not dtype.startswith("u"):
        return None
    bound, bias = (relax.const(int(attrs.get(key, default)), dtype) for key, default in (("lambd", 0.5), ("bias", 0.0)))
    return op.where(op.greater(x, bound), bb.emit(op.subtract(x, bias)), relax.const(0, dtype))


def _elu(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """TVM's is for float32 alone."""
    x, dtype = inputs[0], dtype_of(inputs[0])
    if dtype == "float32":
        return None
    curve = op.multiply(op.subtract(op.exp(x), relax.const(1, dtype)), relax.const(attrs.get("alpha", 1.0), dtype))
    return op.where(op.greater(x, relax.const(0, dtype)), x, bb.emit(curve))


def _hyperbolic(combine: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Converter:
    """sinh and cosh, which LLVM has no instruction or library call for: (e^x -+ e^-x) / 2."""

    def convert(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
        x = inputs[0]
        grows, falls = bb.emit(op.exp(x)), bb.emit(op.exp(op.negative(x)))
        return op.multiply(combine(grows, falls), relax.const(0.5, dtype_of(x)))

    return convert


ELEMENTWISE: dict[str, Converter] = {
    "Clip": _clip,
    "Sum": _variadic(op.add),
    "Mean": _variadic(op.add, mean=True),
    "Min": _variadic(op.minimum),
    "Max": _variadic(op.maximum),
    "Pow": _pow,
    "Mod": _mod,
    "BitShift": _bit_shift,
    "IsInf": _is_inf,
    "Sign": _sign,
    "Shrink": _shrink,
    "Elu": _elu,
    "Sinh": _hyperbolic(op.subtract),
    "Cosh": _hyperbolic(op.add),
}
