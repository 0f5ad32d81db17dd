"""Own ONNX -> Relax converters, by operator.

TVM's own are used for all other operators. These here bind layers to their names, give weights as plain constants, keep
element-wise operators visible to the passes (TVM emits Clip and Pad as opaque kernels, Sum as stack-and-reduce), and follow the
ONNX specification where TVM's differ.

A converter takes the block builder, the inputs (None where absent) and the attributes; it returns an expression, or None to leave
the case to TVM's converter.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import ir, relax

from ..errors import TenfoldError
from .resize import resize, upsample

Inputs = list[relax.Expr]
Attributes = dict[str, Any]
Converter = Callable[[relax.BlockBuilder, Inputs, Attributes], relax.Expr | None]


def bind(bb: relax.BlockBuilder, call: relax.Expr, name: str) -> relax.Var:
    """Bind `call` to a variable of exactly the name given; `BlockBuilder.emit` would replace dots and number duplicates."""
    call = bb.normalize(call)
    var = relax.DataflowVar(name, call.ty)
    bb.emit_normalized(relax.VarBinding(var, call))
    return var


def value_of(expr: relax.Expr | None) -> np.ndarray | None:
    """The value of a constant, or None."""
    return expr.value.numpy() if isinstance(expr, ir.GenericConst) else None


def const(array: np.ndarray) -> relax.Constant:
    """A constant of the array's own type: by itself relax.const makes float64 a float32."""
    return relax.const(array, str(array.dtype))


def _shape(expr: relax.Expr) -> list[int]:
    return [int(size) for size in expr.ty.shape.values]


def _along_axis_1(bias: relax.Expr, rank: int) -> relax.Expr:
    """A bias of (channels,) as (1, channels, 1, ...)."""
    form = (1, -1) + (1,) * (rank - 2)
    array = value_of(bias)
    return const(array.reshape(form)) if array is not None else relax.op.reshape(bias, form)


def _conv(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes, transpose: bool = False) -> relax.Expr | None:
    data, weight, bias = inputs[0], inputs[1], inputs[2]
    dims = data.ty.ndim - 2
    if dims not in (1, 2, 3):
        raise TenfoldError(f"convolution over {dims} dimensions is not supported")
    if attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return None  # only where the input size is unknown; TVM's converter knows what can be done then
    spatial = "DHW"[3 - dims:] if dims > 1 else "W"
    operator = getattr(relax.op.nn, f"conv{dims}d" + ("_transpose" if transpose else ""))
    options = {"output_padding": attrs.get("output_padding", (0,) * dims)} if transpose else {}
    result = bind(
        bb,
        operator(
            data,
            weight,
            strides=attrs.get("strides", (1,) * dims),
            padding=attrs.get("pads", (0,) * 2 * dims),
            dilation=attrs.get("dilations", (1,) * dims),
            groups=attrs.get("group", 1),
            data_layout="NC" + spatial,
            kernel_layout=("IO" if transpose else "OI") + spatial,
            **options,
        ),
        attrs["tvm_custom"]["name"],
    )
    return result if bias is None else relax.op.add(result, _along_axis_1(bias, dims + 2))


def _conv_transpose(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    if attrs.get("output_shape"):
        raise TenfoldError("output_shape is not supported; export with pads and output_padding")
    return _conv(bb, inputs, attrs, transpose=True)


def _matmul(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    product = relax.op.matmul(inputs[0], inputs[1])
    return bind(bb, product, attrs["tvm_custom"]["name"]) if value_of(inputs[1]) is not None else product


def _gemm(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """alpha * A' B' + beta * C with a constant B: alpha and transB go into the weight, beta into a constant C."""
    data, weight, bias = inputs[0], value_of(inputs[1]), inputs[2]
    if weight is None:
        return None
    if attrs.get("transA", 0):
        data = relax.op.permute_dims(data, [1, 0])
    weight = np.ascontiguousarray(weight.T) if attrs.get("transB", 0) else weight
    if attrs.get("alpha", 1.0) != 1.0:
        weight = weight * np.asarray(attrs["alpha"], weight.dtype)
    product = bind(bb, relax.op.matmul(data, const(weight)), attrs["tvm_custom"]["name"])
    if bias is None:
        return product
    beta, array = attrs.get("beta", 1.0), value_of(bias)
    if beta != 1.0:
        beta = np.asarray(beta, weight.dtype)
        bias = const(array * beta) if array is not None else relax.op.multiply(bias, const(beta))
    return relax.op.add(product, bias)


def _clip(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Bounds are attributes before opset 11, inputs after; constant ones make relax.clip or relax.nn.relu."""
    low, high = (inputs[1], inputs[2]) if "min" not in attrs and "max" not in attrs else (None, None)
    bounds = [None if bound is None else value_of(bound) for bound in (low, high)]
    if any(given is not None and value is None for given, value in zip((low, high), bounds, strict=True)):
        return None
    dtype = inputs[0].ty.dtype.dtype
    low, high = (attrs.get(key) if value is None else value.item() for key, value in zip(("min", "max"), bounds, strict=True))
    if low == 0 and high is None:
        return relax.op.nn.relu(inputs[0])
    if low is not None and high is not None:
        return relax.op.clip(inputs[0], low, high)
    if low is not None:
        return relax.op.maximum(inputs[0], relax.const(low, dtype))
    return inputs[0] if high is None else relax.op.minimum(inputs[0], relax.const(high, dtype))


def _pad(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Zero or constant padding; the other modes are TVM's. Negative pads are refused: TVM would read out of bounds."""
    pads = attrs.get("pads") if "pads" in attrs else value_of(inputs[1])
    if pads is None:
        return None
    if min(pads, default=0) < 0:
        raise TenfoldError("negative pads are not supported; use a Slice")
    fill = attrs.get("value", 0.0) if "pads" in attrs else (0.0 if inputs[2] is None else value_of(inputs[2]))
    if attrs.get("mode", b"constant") != b"constant" or fill is None:
        return None
    rank = inputs[0].ty.ndim
    axes = range(rank) if inputs[3] is None else [int(axis) % rank for axis in value_of(inputs[3])]
    widths = [0] * 2 * rank
    for i, axis in enumerate(axes):
        widths[2 * axis], widths[2 * axis + 1] = int(pads[i]), int(pads[i + len(axes)])
    return relax.op.nn.pad(inputs[0], widths, pad_mode="constant", pad_value=float(np.asarray(fill).item()))


def _gather(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Constant indices are checked here, so that the kernel need not trust them."""
    data, indices = inputs[0], value_of(inputs[1])
    if indices is None or not isinstance(data.ty, relax.TensorType) or value_of(data) is not None:
        return None
    axis = attrs.get("axis", 0) % data.ty.ndim
    size = _shape(data)[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise TenfoldError(f"an index is out of range: axis {axis} has {size} entries")
    return relax.op.take(data, relax.const(np.mod(indices, size)), axis=axis, mode="clip")


def _variadic(operator: Callable[[relax.Expr, relax.Expr], relax.Expr], mean: bool = False) -> Converter:
    """Sum, Min, Max and Mean as a row of binary operators."""

    def convert(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
        total = functools.reduce(lambda a, b: bb.emit(operator(a, b)), list(inputs))
        return relax.op.multiply(total, relax.const(1.0 / len(inputs), total.ty.dtype.dtype)) if mean else total

    return convert


CONVERTERS: dict[str, Converter] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Clip": _clip,
    "Pad": _pad,
    "Gather": _gather,
    "Sum": _variadic(relax.op.add),
    "Mean": _variadic(relax.op.add, mean=True),
    "Min": _variadic(relax.op.minimum),
    "Max": _variadic(relax.op.maximum),
    "Resize": resize,
    "Upsample": upsample,
}
