"""Convolutions and dense layers with constant weights become kernels of the backend; every other operator gets TVM's.

    relax.nn.conv2d(x, constant)            -> the backend's convolution
    relax.nn.conv2d_transpose(x, constant)  -> the same, of the input with zeros between its pixels, kernel turned by 180 degrees
    relax.matmul(x, constant)               -> the backend's dense layer
    relax.matmul(x, y)                      -> TVM's, as everything else

Weights are packed with NumPy on the way, once per layer.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..schedules.backend import Backend, Kernel, LayerConstants
from ..schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from .int8.arithmetic import dequantize

FUSABLE_PATTERN = {"op_pattern": 4}  # kOutEWiseFusable: element-wise consumers join the kernel


def legalize(mod: tvm.IRModule, backend: Backend) -> tvm.IRModule:
    """Replace every Relax operator by a call of a TensorIR function.

    Parameters
    ----------
    mod : tvm.IRModule
        Channels-last module, weights as constants.
    backend : Backend
        Has the kernels of layers.
    """
    own = {
        "relax.nn.conv2d": lambda builder, call: _conv2d(builder, call, backend),
        "relax.nn.conv2d_transpose": lambda builder, call: _conv2d_transpose(builder, call, backend),
        "relax.matmul": lambda builder, call: _matmul(builder, call, backend),
        "relax.dequantize": _dequantize,
    }
    return relax.transform.LegalizeOps(own)(mod)


def call_kernel(builder: relax.BlockBuilder, kernel: Kernel, data: relax.Expr, *layers: LayerConstants,
                factors: relax.Expr | None = None) -> relax.Call:
    """Return a call of a kernel.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Gets the kernel's function.
    kernel : Kernel
        What to call.
    data : relax.Expr
        What its first layer reads.
    *layers : LayerConstants
        The constants of each layer.
    factors : relax.Expr, optional
        What scales the channels of the data, of a kernel that `takes_gate`.
    """
    bound = kernel.bind(*layers)
    bound, inputs = (bound, [data]) if factors is None else (bound.gated(), [data, factors])
    constants = [relax.const(array) for array in bound.constants]
    return builder.call_te(bound.compute, *inputs, *constants, primfunc_name_hint=bound.name or kernel.name, primfunc_attrs=FUSABLE_PATTERN)


def plain_convolution(call: relax.Call) -> tuple[ConvGeometry, np.ndarray] | None:
    """Geometry and weight (OIHW) of a channels-last float32 convolution with a constant weight; None for every other call."""
    if call.op.name != "relax.nn.conv2d":
        return None
    data, weight = call.args
    attrs = call.attrs
    if not isinstance(weight, ir.Constant) or attrs.data_layout != "NHWC" or _dtype(data) != "float32":
        return None
    oihw = _to_layout(weight.value.numpy(), attrs.kernel_layout, "OIHW")
    filters, _, *kernel = oihw.shape
    return ConvGeometry(filters, pair(kernel), pair(attrs.strides), sides(attrs.padding), pair(attrs.dilation), int(attrs.groups)), oihw


def dense_weight(call: relax.Call) -> np.ndarray | None:
    """The constant weight (OI) of a matmul; None for every other call."""
    if call.op.name != "relax.matmul":
        return None
    data, weight = call.args
    if not isinstance(weight, ir.Constant) or weight.value.numpy().ndim != 2 or data.ty.ndim < 2 or _dtype(weight) != "float32":
        return None
    return weight.value.numpy().T


def dense_workload(call: relax.Call, weight: np.ndarray) -> DenseWorkload:
    """What a matmul by a constant computes."""
    *lead, channels = _shape(call.args[0])
    return DenseWorkload(prod(lead), channels, weight.shape[0])


def _conv2d(builder: relax.BlockBuilder, call: relax.Call, backend: Backend) -> relax.Expr:
    plain = plain_convolution(call)
    return _with_own_kernel(builder, call, plain, backend)


def _conv2d_transpose(builder: relax.BlockBuilder, call: relax.Call, backend: Backend) -> relax.Expr:
    return _with_own_kernel(builder, call, transposed_convolution(call), backend)


def transposed_convolution(call: relax.Call) -> tuple[ConvGeometry, np.ndarray] | None:
    """Geometry and weight (OIHW) of the plain convolution that one transposed by a constant weight equals; None for every other call."""
    data, weight = call.args
    attrs = call.attrs
    if not isinstance(weight, ir.Constant) or attrs.data_layout != "NHWC" or _dtype(data) != "float32":
        return None
    # In: (I, O / groups, KH, KW). Each group's input and output channels change places, the kernel turns by 180 degrees.
    iohw = _to_layout(weight.value.numpy(), attrs.kernel_layout, "IOHW")
    groups = int(attrs.groups)
    channels, per_group, height, width = iohw.shape
    oihw = iohw.reshape(groups, channels // groups, per_group, height, width).swapaxes(1, 2)[..., ::-1, ::-1]
    oihw = np.ascontiguousarray(oihw.reshape(groups * per_group, channels // groups, height, width))
    dilation, extra = pair(attrs.dilation), pair(attrs.output_padding)
    top, left, bottom, right = sides(attrs.padding)
    reach_h, reach_w = (height - 1) * dilation[0], (width - 1) * dilation[1]
    padding = (reach_h - top, reach_w - left, reach_h - bottom + extra[0], reach_w - right + extra[1])
    return ConvGeometry(groups * per_group, (height, width), (1, 1), padding, dilation, groups, upsample=pair(attrs.strides)), oihw


def _with_own_kernel(builder: relax.BlockBuilder, call: relax.Call, plain: tuple[ConvGeometry, np.ndarray] | None,
                     backend: Backend) -> relax.Expr:
    """The backend's kernel of a convolution, or TVM's where there is none."""
    kernel = None
    if plain is not None:
        geometry, weight = plain
        batch, height, width, channels = _shape(call.args[0])
        kernel = backend.convolution(ConvWorkload(geometry, (height, width), channels, batch))
    if kernel is None:
        return _default(call)(builder, call)
    return call_kernel(builder, kernel, call.args[0], LayerConstants(weight))


def _matmul(builder: relax.BlockBuilder, call: relax.Call, backend: Backend) -> relax.Expr:
    weight = dense_weight(call)
    kernel = None if weight is None else backend.dense(dense_workload(call, weight))
    if kernel is None:
        return _default(call)(builder, call)
    return call_kernel(builder, kernel, call.args[0], LayerConstants(weight))


def _dequantize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    own = dequantize(builder, call)
    return _default(call)(builder, call) if own is None else own


def _default(call: relax.Call) -> Callable[[relax.BlockBuilder, relax.Call], relax.Expr]:
    """TVM's way to legalize the operator that is called."""
    return tvm.ir.Op.get(call.op.name).get_attr("FLegalize")


def pair(values: Iterable[Any]) -> tuple[int, int]:
    """An attribute of two numbers, (vertical, horizontal)."""
    vertical, horizontal = (int(value) for value in values)
    return vertical, horizontal


def sides(values: Iterable[Any]) -> tuple[int, int, int, int]:
    """An attribute of four numbers, (top, left, bottom, right)."""
    top, left, bottom, right = (int(value) for value in values)
    return top, left, bottom, right


def _shape(expr: relax.Expr) -> tuple[int, ...]:
    return tuple(int(size) for size in expr.ty.shape)


def _dtype(expr: relax.Expr) -> str:
    return str(expr.ty.dtype)


def _to_layout(weight: np.ndarray, layout: str, wanted: str) -> np.ndarray:
    return weight.transpose([layout.index(axis) for axis in wanted])
