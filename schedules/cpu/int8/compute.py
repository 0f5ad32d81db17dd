"""Convolution of bytes as TE, NHWC, with packed weights: any kernel, stride, padding, dilation, groups; fully connected layers too.

`Operands` says what is multiplied: the same computes products of bfloat16 numbers, two in a step where bytes are four. Of bytes:

    sum of (x - zero) * w    =    sum of x * w  -  zero * sum of w

The second sum is a constant for each filter (`correction`). Pixels of the padding have the value `zero`, which stands for 0.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from math import ceil, prod

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ...tir.dot_products import Dot
from ..conv2d.compute import pack_weights, ravel, unravel
from ..conv2d.cost import Tile
from .isa import depth
from .padding import padded

ANNOTATION = "tenfold.int8"  # of the accumulating block: the tile, as integers, and `Dot.adds_halves`
LEAST = -128  # of a signed byte
LIMITS = "tenfold.int8.limits"  # of the same block: output height and width


@dataclass(frozen=True)
class Operands:
    """What is multiplied.

    Attributes
    ----------
    name : str
        Of the block that accumulates the products of a convolution.
    dot : Dot
        The instructions, for this weight (`for_weight`).
    read : callable
        From a number in memory, of the data or of the weight, to a number of the type of the sums.
    """

    name: str
    dot: Dot
    read: Callable[[ir.Expr], ir.Expr]


def byte_operands(dot: Dot) -> Operands:
    """Bytes, whose sums are int32."""
    return Operands("int8_conv2d", dot, lambda byte: byte.astype("int32"))


def pack_bytes(weight: np.ndarray, groups: int, tile: Tile, dot: Dot) -> np.ndarray:
    """Pack a weight: OIHW -> (group, block, kernel row, kernel column, step, filter of the block and channel of the step).

    Parameters
    ----------
    weight : ndarray
        (F, C / groups, KH, KW). Channels are filled up with zeros to whole steps.
    groups : int
        Groups of the convolution.
    tile : Tile
        A block is `tile.vectors` vectors of filters; the last block of a group is filled up with zeros.
    dot : Dot
        Says where in the last axis each weight lies.
    """
    steps, each = depth(weight.shape[1], dot.depth), dot.depth
    filled = np.pad(weight, ((0, 0), (0, steps * each - weight.shape[1]), (0, 0), (0, 0)))
    *outer, _, block = (packed := pack_weights(filled, groups, tile, dot.lanes)).shape
    rows = np.empty((*outer, steps, block * each), weight.dtype)
    rows[..., dot.place(*np.ogrid[:block, :each])] = packed.reshape(*outer, steps, each, block).swapaxes(-1, -2)
    return rows


def correction(weight: np.ndarray, zero: int) -> np.ndarray:
    """What is added to the sum of each filter, since its inputs are `zero` too large."""
    return (-zero * weight.astype(np.int64).sum(axis=tuple(range(1, weight.ndim)))).astype(np.int32)


def int8_conv2d(data: te.Tensor, weight: te.Tensor, added: te.Tensor, geometry: ConvGeometry, zero: int, tile: Tile,
                dot: Dot) -> te.Tensor:
    """Write the convolution of bytes as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), bytes.
    weight : te.Tensor
        As `pack_bytes` makes it.
    added : te.Tensor
        (F,), as `correction` makes it.
    geometry : ConvGeometry
        The convolution's attributes.
    zero : int
        The byte that stands for 0.
    tile : Tile
        The register tile.
    dot : Dot
        For this weight (`for_weight`).

    Returns
    -------
    te.Tensor
        (N, OH, OW, F), int32.
    """
    sums = dot_conv2d(data, weight, geometry, tile, byte_operands(dot), zero)
    return te.compute(sums.shape, lambda n, y, x, f: sums[n, y, x, f] + added[f], name="corrected")


def dot_conv2d(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: Tile, operands: Operands, zero: int = 0) -> te.Tensor:
    """Write a convolution as TE whose products are added a few at once.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_bytes` makes it.
    geometry : ConvGeometry
        The convolution's attributes.
    tile : Tile
        The register tile.
    operands : Operands
        What is multiplied.
    zero : int
        What the padding is filled with.

    Returns
    -------
    te.Tensor
        (N, OH, OW, F), the sums.
    """
    batch, height, width, _ = (int(d) for d in data.shape)
    groups, blocks, kernel_h, kernel_w, steps, block = (int(d) for d in weight.shape)
    dot = operands.dot
    block //= dot.depth
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    out_h, out_w = geometry.output(height, width)
    source = padded(data, geometry.padding, groups, steps * dot.depth, zero)
    per_group = geometry.filters // groups
    ky, kx = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx")
    ci, k = te.reduce_axis((0, steps), "ci"), te.reduce_axis((0, dot.depth), "k")

    def product(n: ir.Expr, b: ir.Expr, y: ir.Expr, x: ir.Expr, v: ir.Expr) -> ir.Expr:
        value = source[n, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, (b // blocks * steps + ci) * dot.depth + k]
        factor = weight[b // blocks, b % blocks, ky, kx, ci, dot.place(v, k)]
        return te.sum(operands.read(value) * operands.read(factor), axis=[ky, kx, ci, k])

    def block_of(f: ir.Expr) -> ir.Expr:
        return f // block if per_group % block == 0 else f // per_group * blocks + f % per_group // block

    annotation = {ANNOTATION: _describe(tile, dot)}
    if tile.flat:
        last = out_h * out_w - 1
        pixels = ceil((last + 1) / tile.pixels) * tile.pixels

        def flat(n: ir.Expr, b: ir.Expr, p: ir.Expr, v: ir.Expr) -> ir.Expr:
            p = tirx.min(p, last) if pixels > last + 1 else p
            return product(n, b, p // out_w, p % out_w, v)

        acc = te.compute((batch, groups * blocks, pixels, block), flat, name=operands.name, attrs=annotation)
        return te.compute((batch, out_h, out_w, geometry.filters), lambda n, y, x, f: acc[
            n, block_of(f), y * out_w + x, f % per_group % block], name="crop")
    annotation[LIMITS] = [out_h, out_w]
    wide, high = ceil(out_w / tile.pixels) * tile.pixels, ceil(out_h / tile.rows) * tile.rows
    acc = te.compute((batch, groups * blocks, high, wide, block), product, name=operands.name, attrs=annotation)
    return te.compute((batch, out_h, out_w, geometry.filters), lambda n, y, x, f: acc[
        n, block_of(f), y, x, f % per_group % block], name="crop")


def int8_dense(data: te.Tensor, weight: te.Tensor, added: te.Tensor, filters: int, tile: Tile, dot: Dot) -> te.Tensor:
    """Write a fully connected layer of bytes as TE.

    Parameters
    ----------
    data : te.Tensor
        (..., C), bytes.
    weight : te.Tensor
        As `pack_bytes` makes it of (F, C, 1, 1).
    added : te.Tensor
        (F,), as `correction` makes it.
    filters : int
        F.
    tile : Tile
        The register tile.
    dot : Dot
        For this weight (`for_weight`).

    Returns
    -------
    te.Tensor
        (..., F), int32.
    """
    sums = dot_dense(data, weight, filters, tile, byte_operands(dot))
    return te.compute(sums.shape, lambda *i: sums(*i) + added[i[-1]], name="corrected")


def dot_dense(data: te.Tensor, weight: te.Tensor, filters: int, tile: Tile, operands: Operands) -> te.Tensor:
    """Write a fully connected layer as TE: a 1 x 1 convolution whose pixels are all leading axes of the data.

    Parameters
    ----------
    data : te.Tensor
        (..., C).
    weight : te.Tensor
        As `pack_bytes` makes it of (F, C, 1, 1).
    filters : int
        F.
    tile : Tile
        The register tile.
    operands : Operands
        What is multiplied.

    Returns
    -------
    te.Tensor
        (..., F), the sums.
    """
    *lead, channels = (int(d) for d in data.shape)
    _, blocks, _, _, steps, block = (int(d) for d in weight.shape)
    dot = operands.dot
    block //= dot.depth
    count = prod(lead)
    pixels = ceil(count / tile.pixels) * tile.pixels
    if channels % dot.depth:
        rows = data
        data = te.compute((*lead, steps * dot.depth), lambda *i: tirx.if_then_else(
            i[-1] < channels, rows(*i), tirx.const(0, rows.dtype)), name="padded")
    ky, kx = te.reduce_axis((0, 1), "ky"), te.reduce_axis((0, 1), "kx")
    ci, k = te.reduce_axis((0, steps), "ci"), te.reduce_axis((0, dot.depth), "k")

    def product(n: ir.Expr, b: ir.Expr, p: ir.Expr, v: ir.Expr) -> ir.Expr:
        p = tirx.min(p, count - 1) if pixels > count else p
        value = data[tuple([*unravel(p, lead), ci * dot.depth + k])]
        factor = weight[n, b, ky, kx, ci, dot.place(v, k)]
        return te.sum(operands.read(value) * operands.read(factor), axis=[ky, kx, ci, k])

    acc = te.compute((1, blocks, pixels, block), product, name="dense", attrs={ANNOTATION: _describe(tile, dot)})
    return te.compute((*lead, filters), lambda *i: acc[0, i[-1] // block, ravel(i[:-1], lead), i[-1] % block], name="crop")


def for_weight(dot: Dot, weight: np.ndarray) -> Dot:
    """The instructions for the products of a weight."""
    return dot.adding(halves=bool((weight > LEAST).all()))


def _describe(tile: Tile, dot: Dot) -> list[int]:
    return [int(value) for value in (*astuple(tile), dot.adds_halves)]
