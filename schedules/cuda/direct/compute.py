"""A convolution as a sum over its kernel, as TE: NHWC, any kernel, stride, padding, dilation, groups."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ..common import wide_number

ANNOTATION = "tenfold.direct"  # of the accumulating block: the tile, as integers


@dataclass(frozen=True)
class DirectTile:
    """What one thread computes: so many neighbouring pixels of a row, of one filter or of four; and the threads of a block."""

    pixels: int
    threads: int


def pack_direct(weight: np.ndarray) -> np.ndarray:
    """Pack a weight: OIHW -> (kernel row, kernel column, input channel of the group, filter)."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))


def direct_convolution(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: DirectTile, zero: int = 0) -> te.Tensor:
    """Write the convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), float32 or uint8.
    weight : te.Tensor
        As `pack_direct` makes it.
    geometry : ConvGeometry
    tile : DirectTile
    zero : int
        Of bytes: the one that stands for 0.

    Returns
    -------
    te.Tensor
        (N, OH, OW, F), float32; of bytes int32.
    """
    batch, height, width, _ = (int(size) for size in data.shape)
    kernel_h, kernel_w, channels, filters = (int(size) for size in weight.shape)
    up_h, up_w = geometry.upsample
    spread_h, spread_w = (height - 1) * up_h + 1, (width - 1) * up_w + 1
    own = filters // geometry.groups
    out_h, out_w = geometry.output(spread_h, spread_w)
    wide = -(-out_w // tile.pixels) * tile.pixels
    nothing = tirx.const(0, "int32" if data.dtype == "uint8" else data.dtype)
    ky, kx, ci = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx"), te.reduce_axis((0, channels), "ci")

    def product(n: ir.Expr, y: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        row = y * geometry.stride[0] + ky * geometry.dilation[0] - geometry.padding[0]
        column = x * geometry.stride[1] + kx * geometry.dilation[1] - geometry.padding[1]
        inside = [row >= 0, row < spread_h] if geometry.padding[0] > 0 or geometry.padding[2] > 0 else []
        if geometry.padding[1] > 0 or geometry.padding[3] > 0:
            inside += [column >= 0, column < spread_w]
        elif wide > out_w:
            inside.append(column < spread_w)
        if (up_h, up_w) != (1, 1):
            inside += [tirx.EQ(row % up_h, 0), tirx.EQ(column % up_w, 0)]
        value = wide_number(data[n, row // up_h, column // up_w, f // own * channels + ci], data)
        value = value - zero if zero else value
        value = tirx.if_then_else(tirx.all(*inside), value, nothing) if inside else value
        return te.sum(value * wide_number(weight[ky, kx, ci, f], weight), axis=[ky, kx, ci])

    attrs = {ANNOTATION: [tile.pixels, tile.threads]}
    sums = te.compute((batch, out_h, wide, filters), product, name="direct", attrs=attrs)
    return te.compute((batch, out_h, out_w, filters), lambda *i: sums(*i), name="crop")
