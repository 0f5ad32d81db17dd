"""Depthwise convolution of bytes: memory holds bytes, registers hold them as float32, whose sums of so few products are exact.

It is the depthwise convolution in float32, but that the copy of a task's padded input, which stays in L1 or L2, is made of bytes.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from math import ceil, prod

import numpy as np
from tvm import ir, te, tirx

from ....targets import CpuTarget
from ...backend import BoundKernel, Kernel, LayerConstants
from ...shapes import ConvGeometry, ConvWorkload
from ...space import Point, Space, number
from ..conv2d.depthwise import ANNOTATION, DepthwiseTile, choose_depthwise, pack_depthwise
from ..conv2d.terms import depthwise_terms
from ..convolution import depthwise_knobs
from .isa import dot_of

MOST_TAPS = 2**24 // (255 * 128)  # of which float32 holds every sum


@dataclass(frozen=True)
class ByteDepthwise(Kernel):
    """A filter for each channel."""

    convolution: ConvWorkload
    target: CpuTarget
    tile: DepthwiseTile
    name = "int8_depthwise"

    @property
    def workload(self) -> str:
        return f"int8 {self.convolution}"

    @property
    def point(self) -> Point:
        return {"algorithm": "depthwise", "pixels": self.tile.pixels, "rows": self.tile.rows, "vectors": self.tile.vectors}

    def space(self) -> Space:
        return Space(self.point, (depthwise_knobs(self.convolution, self.target),))

    def at(self, point: Point) -> ByteDepthwise:
        checked = self.space().check(point, self.workload)
        return replace(self, tile=DepthwiseTile(*(number(checked, knob) for knob in ("pixels", "rows", "vectors"))))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry = layers, self.convolution.geometry
        assert layer.weight is not None
        weight = pack_depthwise(layer.weight.astype(np.float32))
        return BoundKernel([weight], lambda x, w: byte_depthwise(x, w, geometry, layer.zero, self.tile))

    def terms(self) -> Mapping[str, float]:
        return depthwise_terms(self.convolution, self.tile, self.target)


def byte_depthwise(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, zero: int, tile: DepthwiseTile) -> te.Tensor:
    """Depthwise convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), uint8.
    weight : te.Tensor
        (KH, KW, C), whole numbers as float32.
    geometry : ConvGeometry
        The convolution's attributes.
    zero : int
        The byte that stands for 0.
    tile : DepthwiseTile
        What one task computes.

    Returns
    -------
    te.Tensor
        (N, OH, OW, C), whole numbers as float32.
    """
    batch, height, width, channels = (int(d) for d in data.shape)
    kernel_h, kernel_w, _ = (int(d) for d in weight.shape)
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    top, left, bottom, right = geometry.padding
    out_h, out_w = geometry.output(height, width)

    def number_at(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        value = data[n, y - top, x - left, c].astype("float32") - tirx.const(float(zero), "float32")
        if not any(geometry.padding):
            return value
        inside = tirx.all(y >= top, y < height + top, x >= left, x < width + left)
        return tirx.if_then_else(inside, value, tirx.const(0, "float32"))

    source = te.compute((batch, height + top + bottom, width + left + right, channels), number_at, name="padded")
    ky, kx = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx")
    wide = ceil(out_w / tile.pixels) * tile.pixels

    def product(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        x = tirx.min(x, out_w - 1) if wide > out_w else x
        return te.sum(source[n, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, c] * weight[ky, kx, c], axis=[ky, kx])

    acc = te.compute((batch, out_h, wide, channels), product, name="int8_depthwise", attrs={ANNOTATION: list(astuple(tile))})
    return te.compute((batch, out_h, out_w, channels), lambda *i: acc(*i), name="crop")


def choose_byte_depthwise(convolution: ConvWorkload, target: CpuTarget) -> ByteDepthwise | None:
    """Return the kernel of a depthwise convolution; None for a kernel so large that a sum may be rounded."""
    if dot_of(target) is None or prod(convolution.geometry.kernel) > MOST_TAPS:
        return None
    return ByteDepthwise(convolution, target, choose_depthwise(convolution, target))
