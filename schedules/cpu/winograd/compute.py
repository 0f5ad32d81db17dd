"""Winograd convolution as TE, NHWC: 3 x 3, stride 1, one group, any padding and dilation. `schedule.py` has the loop nest.

    patch           the inputs of a tile, zeros where the padding is
    lateral         B^T d: transformed along the height
    transformed     B^T d B
    winograd        the products, summed over input channels: one matrix product for each of the (m + 2)^2 positions
    products        the same, after the accumulators
    partial         A^T p: transformed back along the height
    crop            A^T p A, for the pixels that exist, or the largest of each 2 x 2 of them; the epilogue follows

Tiles are numbered through all images, row by row. Tiles beyond the last one are copies of it, and are dropped. A dilated convolution is one
without dilation on each of the images that every d-th row and column make: a row of tiles has those of one such image after the other.

Channels that don't fill the last vector are transformed in one that begins earlier, and has some of the vector before it again.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import ceil
from typing import Any

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ...winograd_algebra import BY_OUTPUTS
from .cost import Blocking
from .tile_grid import TileGrid

# Of the accumulating block: the blocking as integers, how many rows of the result pooling makes one, and the dilations.
ANNOTATION = "tenfold.winograd"
POOL = 2  # rows and columns of a pooling window; a tile has whole windows


def pack_winograd(weight: np.ndarray, blocking: Blocking, lanes: int) -> np.ndarray:
    """Transform and pack a weight: OIHW -> (group, position down, across, block of a group, input channel, output channel of a block).

    The last block is filled up with zeros. Tasks read the blocks in this order.

    Parameters
    ----------
    weight : ndarray
        (F, C, 3, 3).
    blocking : Blocking
        A block is `blocking.vectors` vectors of output channels.
    lanes : int
        Numbers in a vector.
    """
    filters, channels, *_ = weight.shape
    block = blocking.vectors * lanes
    whole = np.zeros((ceil(filters / block) * block, channels, *weight.shape[2:]), weight.dtype)
    whole[:filters] = weight
    transformed = BY_OUTPUTS[blocking.outputs].transform_weights(whole)
    size = len(transformed)
    return np.ascontiguousarray(transformed.reshape(size, size, -1, blocking.blocks, block, channels).transpose(2, 0, 1, 3, 5, 4))


def winograd(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, blocking: Blocking,
             step: Callable[[ir.Expr, ir.Expr], ir.Expr] | None = None) -> te.Tensor:
    """Write the convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_winograd` makes it.
    geometry : ConvGeometry
        The convolution's attributes.
    blocking : Blocking
        The form of the algorithm, and what a task computes.
    step : callable, optional
        If it is given, max-pooling with adjacent windows of 2 x 2 follows the convolution; OH and OW are even then, and it is not dilated.
        It makes the value that is pooled of a value and its channel.

    Returns
    -------
    te.Tensor
        (N, OH, OW, F); with pooling (N, OH // 2, OW // 2, F).
    """
    form = BY_OUTPUTS[blocking.outputs]
    m, size = form.outputs, form.products
    batch, height, width, channels = (int(d) for d in data.shape)
    groups, *_, per_group, _, block = (int(d) for d in weight.shape)
    out_h, out_w = geometry.output(height, width)
    grid = TileGrid((out_h, out_w), geometry.dilation, m)
    down, across = grid.counts
    count = batch * down * across
    lanes = block // blocking.vectors
    vectors = ceil(channels / lanes) if channels > lanes else 0
    ragged = vectors * lanes - channels if vectors else 0
    tiles = ceil(count / blocking.tiles) * blocking.tiles

    def patch(t: ir.Expr, i: ir.Expr, j: ir.Expr, c: ir.Expr) -> ir.Expr:
        t = tirx.min(t, count - 1) if tiles > count else t
        places, inside = [], []
        for axis, (tile, step, extent) in enumerate(((t // across % down, i, height), (t % across, j, width))):
            before = geometry.padding[axis]
            place = grid.position(axis, tile, step) - before
            if before > 0:
                inside.append(place >= 0)
            if grid.last(axis, size - 1) - before >= extent:
                inside.append(place < extent)
            places.append(place)
        channel = tirx.min(c // lanes * lanes, channels - lanes) + c % lanes if ragged else c
        value = data[t // (across * down), places[0], places[1], channel]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype)) if inside else value

    inputs = te.compute((tiles, size, size, channels + ragged), patch, name="patch")
    lateral = te.compute((tiles, size, size, channels + ragged), lambda t, i, j, c: _nth(
        form.transform_input, [inputs[t, k, j, c] for k in range(size)], i), name="lateral")
    transformed = te.compute((size, size, tiles, channels + ragged), lambda i, j, t, c: _nth(
        form.transform_input, [lateral[t, i, k, c] for k in range(size)], j), name="transformed")
    ci = te.reduce_axis((0, channels), "ci")
    at = ci + ci // ((vectors - 1) * lanes) * ragged if ragged else ci
    shape = (groups * per_group, size, size, tiles, block)
    acc = te.compute(shape, lambda o, i, j, t, v: te.sum(
        transformed[i, j, t, at] * weight[o // per_group, i, j, o % per_group, ci, v], axis=[ci]),
        name="winograd", attrs={ANNOTATION: [*blocking.describe(), 1 if step is None else POOL, *geometry.dilation]})
    products = te.compute(shape, lambda *i: acc(*i), name="products")
    partial = te.compute((groups * per_group, tiles, m, size, block), lambda o, t, i, j, v: _nth(
        form.transform_output, [products[o, k, j, t, v] for k in range(size)], i), name="partial")

    def crop(n: ir.Expr, y: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        (row, i), (column, j) = grid.tile_of(0, y), grid.tile_of(1, x)
        t = (n * down + row) * across + column
        return _nth(form.transform_output, [partial[f // block, t, i, k, f % block] for k in range(size)], j)

    if step is None:
        return te.compute((batch, out_h, out_w, geometry.filters), crop, name="crop")

    def largest(n: ir.Expr, y: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        each = m // POOL
        t, value = (n * down + y // each) * across + x // each, None
        for i, j in product(range(POOL), repeat=2):
            products = [partial[f // block, t, y % each * POOL + i, k, f % block] for k in range(size)]
            one = step(_nth(form.transform_output, products, x % each * POOL + j), f)
            value = one if value is None else tirx.max(value, one)
        return value

    return te.compute((batch, out_h // POOL, out_w // POOL, geometry.filters), largest, name="crop")


def _nth(transform: Callable[[Sequence[Any]], list[Any]], values: Sequence[ir.Expr], index: ir.Expr) -> ir.Expr:
    """Result number `index` of a transform.

    The loop over the index is unrolled, which leaves one of the results, and LLVM computes common parts of the results once.
    """
    *results, last = transform(values)
    for i, result in reversed(list(enumerate(results))):
        last = tirx.Select(tirx.EQ(index, i), result, last)
    return last
