"""Convolutions and dense layers with constant weights become our own TE; every other operator gets TVM's.

    relax.nn.conv2d(x, constant)            -> conv2d; depthwise where every group has one input and one output channel; matvec where
                                               the kernel covers the whole of one image; winograd where its model predicts that it is
                                               faster
    relax.nn.conv2d_transpose(x, constant)  -> conv2d of the input with zeros between its pixels, kernel turned by 180 degrees
    relax.matmul(x, constant)               -> dense, or matvec where x is one vector
    relax.matmul(x, y)                      -> TVM's, as everything else

Weights are packed with NumPy on the way, once per layer.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import ir, relax

from ..schedules.cpu.conv2d.compute import conv2d, dense, pack_weights
from ..schedules.cpu.conv2d.cost import choose_tile
from ..schedules.cpu.conv2d.depthwise import depthwise, pack_depthwise
from ..schedules.cpu.conv2d.groups import merge_groups
from ..schedules.cpu.dense.matvec import choose_streams, matvec, pack_matrix
from ..schedules.cpu.winograd.compute import pack_winograd, winograd
from ..schedules.cpu.winograd.cost import choose_winograd
from ..schedules.shapes import ConvGeometry, ConvShape
from ..targets import Target

FUSABLE = {"op_pattern": 4}  # kOutEWiseFusable: element-wise consumers join the kernel


def legalize(mod: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Replace every Relax operator by a call of a TensorIR function.

    Parameters
    ----------
    mod : tvm.IRModule
        Channels-last module, weights as constants.
    target : Target
        Decides tiles, and with them how weights are packed.
    """
    own = {
        "relax.nn.conv2d": lambda builder, call: _conv2d(builder, call, target),
        "relax.nn.conv2d_transpose": lambda builder, call: _conv2d_transpose(builder, call, target),
        "relax.matmul": lambda builder, call: _matmul(builder, call, target),
    }
    return relax.transform.LegalizeOps(own)(mod)


def _default(name):
    return tvm.ir.Op.get(name).get_attr("FLegalize")


def _ints(values) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _shape(expr: relax.Expr) -> tuple[int, ...]:
    return _ints(expr.ty.shape)


def _dtype(expr: relax.Expr) -> str:
    return str(expr.ty.dtype)


def _conv2d(builder: relax.BlockBuilder, call: relax.Call, target: Target) -> relax.Expr:
    plain = plain_convolution(call)
    if plain is None:
        return _default("relax.nn.conv2d")(builder, call)
    batch, height, width, _ = _shape(call.args[0])
    geometry, oihw = merge_groups(*plain, batch, (height, width), target)  # those that would leave lanes idle
    return _convolution(builder, call.args[0], oihw, geometry, target)


def plain_convolution(call: relax.Call) -> tuple[ConvGeometry, np.ndarray] | None:
    """ConvGeometry and weight (OIHW) of a channels-last float32 convolution with a constant weight; None for every other call."""
    if call.op.name != "relax.nn.conv2d":
        return None
    data, weight = call.args
    attrs = call.attrs
    if not isinstance(weight, ir.Constant) or attrs.data_layout != "NHWC" or _dtype(data) != "float32":
        return None
    oihw = _to_oihw(weight.value.numpy(), attrs.kernel_layout)
    strides, padding, dilation = (_ints(values) for values in (attrs.strides, attrs.padding, attrs.dilation))
    return ConvGeometry(oihw.shape[0], oihw.shape[2:], strides, padding, dilation, int(attrs.groups)), oihw


def _conv2d_transpose(builder: relax.BlockBuilder, call: relax.Call, target: Target) -> relax.Expr:
    data, weight = call.args
    attrs = call.attrs
    if not isinstance(weight, ir.Constant) or attrs.data_layout != "NHWC" or _dtype(data) != "float32":
        return _default("relax.nn.conv2d_transpose")(builder, call)
    # In: (I, O / groups, KH, KW). Each group's input and output channels change places, the kernel turns by 180 degrees.
    iohw = _to_layout(weight.value.numpy(), attrs.kernel_layout, "IOHW")
    groups = int(attrs.groups)
    channels, per_group, height, width = iohw.shape
    oihw = iohw.reshape(groups, channels // groups, per_group, height, width).swapaxes(1, 2)[..., ::-1, ::-1]
    oihw = np.ascontiguousarray(oihw.reshape(groups * per_group, channels // groups, height, width))
    dilation, extra = _ints(attrs.dilation), _ints(attrs.output_padding)
    top, left, bottom, right = _ints(attrs.padding)
    reach_h, reach_w = (height - 1) * dilation[0], (width - 1) * dilation[1]
    padding = (reach_h - top, reach_w - left, reach_h - bottom + extra[0], reach_w - right + extra[1])
    geometry = ConvGeometry(groups * per_group, (height, width), (1, 1), padding, dilation, groups, upsample=_ints(attrs.strides))
    return _convolution(builder, data, oihw, geometry, target)


def _convolution(builder: relax.BlockBuilder, data: relax.Expr, oihw: np.ndarray, geometry: ConvGeometry, target: Target) -> relax.Expr:
    batch, height, width, channels = _shape(data)
    up_h, up_w = geometry.upsample
    if geometry.groups == channels == geometry.filters and geometry.upsample == (1, 1):
        packed = relax.const(pack_depthwise(oihw))
        return _call(builder, "depthwise", lambda x, w: depthwise(x, w, geometry), data, packed)
    if batch == 1 and geometry == ConvGeometry(geometry.filters, (height, width)):
        return _matvec(builder, data, oihw.transpose(0, 2, 3, 1).reshape(geometry.filters, -1), target)
    blocking = choose_winograd(geometry.shape(batch, height, width, channels), target) if geometry.plain else None
    if blocking is not None:
        packed = relax.const(pack_winograd(oihw, blocking, target.lanes))
        return _call(builder, "winograd", lambda x, w: winograd(x, w, geometry, blocking), data, packed)
    tile = choose_tile(geometry.shape(batch, (height - 1) * up_h + 1, (width - 1) * up_w + 1, channels), target)
    packed = relax.const(pack_weights(oihw, geometry.groups, tile, target.lanes))
    return _call(builder, "conv2d", lambda x, w: conv2d(x, w, geometry, tile), data, packed)


def one_row(call: relax.Call) -> np.ndarray | None:
    """The weight (OI) of a fully connected layer of one row; None for every other call."""
    weight = _dense_weight(call)
    return weight if weight is not None and np.prod(_shape(call.args[0])[:-1]) == 1 else None


def _dense_weight(call: relax.Call) -> np.ndarray | None:
    """The constant weight (OI) of a matmul; None for every other call."""
    if call.op.name != "relax.matmul":
        return None
    data, weight = call.args
    if not isinstance(weight, ir.Constant) or weight.value.numpy().ndim != 2 or data.ty.ndim < 2 or _dtype(weight) != "float32":
        return None
    return weight.value.numpy().T


def _matmul(builder: relax.BlockBuilder, call: relax.Call, target: Target) -> relax.Expr:
    oi = _dense_weight(call)
    if oi is None:
        return _default("relax.matmul")(builder, call)
    data = call.args[0]
    *lead, channels = _shape(data)
    if np.prod(lead) == 1:
        return _matvec(builder, data, oi, target)
    tile = choose_tile(ConvShape(1, 1, channels, oi.shape[0], (int(np.prod(lead)), 1)), target)
    packed = relax.const(pack_weights(oi[:, :, None, None], 1, tile, target.lanes))
    return _call(builder, "dense", lambda x, w: dense(x, w, oi.shape[0], tile), data, packed)


def _matvec(builder: relax.BlockBuilder, data: relax.Expr, oi: np.ndarray, target: Target) -> relax.Expr:
    streams = choose_streams(oi.shape[1], oi.shape[0], target)
    packed = relax.const(pack_matrix(oi, streams, target.lanes))
    return _call(builder, "matvec", lambda x, w: matvec(x, w, oi.shape[0], streams), data, packed)


def _call(builder: relax.BlockBuilder, name: str, compute: Callable, data: relax.Expr, weight: relax.Expr) -> relax.Call:
    return builder.call_te(compute, data, weight, primfunc_name_hint=name, primfunc_attrs=FUSABLE)


def _to_oihw(weight: np.ndarray, layout: str) -> np.ndarray:
    return _to_layout(weight, layout, "OIHW")


def _to_layout(weight: np.ndarray, layout: str, wanted: str) -> np.ndarray:
    return weight.transpose([layout.index(axis) for axis in wanted])
