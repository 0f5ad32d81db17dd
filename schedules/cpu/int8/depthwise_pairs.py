"""Depthwise convolution of bytes on NEON: products of 16 bits, added by two there, then in 32 bits.

    pair of taps             products of 8 channels      smull          x of one tap
                                                         smlal          x of the other
                             their sum                   saddw, saddw2  to accumulators of 32 bits

That is four instructions for 16 products, of which two multiply. Bytes are multiplied as they are, so the zero point is taken off by a
constant for each filter, and the image has pixels around it that stand for 0. The loop nest is that of the depthwise convolution in float32
(`conv2d.depthwise`), with all pairs of taps unrolled.
"""
from __future__ import annotations

from dataclasses import astuple
from math import ceil

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ..conv2d.depthwise import ANNOTATION, LANES, LIMITS, DepthwiseTile
from .padding import padded

PAIR = 2


def pack_pairs(weight: np.ndarray, lanes: int) -> np.ndarray:
    """OIHW (C, 1, KH, KW) -> (tap, C): filled up with zeros to pairs of taps and whole vectors."""
    channels, _, height, width = weight.shape
    packed = np.zeros((ceil(height * width / PAIR) * PAIR, ceil(channels / lanes) * lanes), weight.dtype)
    packed[:height * width, :channels] = weight.reshape(channels, -1).T
    return packed


def pair_depthwise(data: te.Tensor, weight: te.Tensor, added: te.Tensor, geometry: ConvGeometry, zero: int, tile: DepthwiseTile,
                   adds_pairs: bool, lanes: int) -> te.Tensor:
    """Depthwise convolution of bytes as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), int8.
    weight : te.Tensor
        As `pack_pairs` makes it, int8.
    added : te.Tensor
        (C,), int32: what is added to the sums of each channel.
    geometry : ConvGeometry
        The convolution's attributes.
    zero : int
        The byte that stands for 0.
    tile : DepthwiseTile
        What one task computes.
    adds_pairs : bool
        Two products are added in 16 bits. No weight is -128 then.
    lanes : int
        Channels of a vector.

    Returns
    -------
    te.Tensor
        (N, OH, OW, C), int32.
    """
    batch, height, width, channels = (int(d) for d in data.shape)
    (kernel_h, kernel_w), (stride_h, stride_w), (dilation_h, dilation_w) = geometry.kernel, geometry.stride, geometry.dilation
    out_h, out_w = geometry.output(height, width)
    taps, filled = kernel_h * kernel_w, int(weight.shape[1])
    source = padded(data, geometry.padding, 1, channels, zero)
    one, pair = te.reduce_axis((0, 1), "one"), te.reduce_axis((0, int(weight.shape[0]) // PAIR), "pair")
    wide, high = ceil(out_w / tile.pixels) * tile.pixels, ceil(out_h / tile.rows) * tile.rows

    def product(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr, i: int) -> ir.Expr:
        tap = number = pair * PAIR + i
        if i and taps % PAIR:
            tap = tirx.min(number, taps - 1)  # whose second weight is 0
        value = source[n, y * stride_h + tap // kernel_w * dilation_h, x * stride_w + tap % kernel_w * dilation_w, c]
        return value.astype("int16") * weight[number, c].astype("int16")

    def total(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        first, second = (product(n, y, x, c, i) for i in range(PAIR))
        both = (first + second).astype("int32") if adds_pairs else first.astype("int32") + second.astype("int32")
        return te.sum(both, axis=[one, pair])

    # Without padding: the copy has it. Taps don't move the limits: all of them lie on the copy.
    limits = [out_h, out_w, channels, stride_h, stride_w, 0, 0, 0, 0, *(int(d) for d in source.shape[1:3])]
    acc = te.compute((batch, high, wide, filled), total, name="depthwise", attrs={
        ANNOTATION: [int(v) for v in astuple(tile)], LIMITS: limits, LANES: lanes})
    return te.compute((batch, out_h, out_w, channels), lambda n, y, x, c: acc[n, y, x, c] + added[c], name="crop")
