"""Winograd convolution, NHWC: 3 x 3, stride 1, one group, any padding. What is computed; `winograd_schedule.py` has the loop nest.

    patch           the inputs of a tile, zeros where the padding is
    lateral         B^T d: transformed along the height
    transformed     B^T d B
    winograd        the products, summed over input channels: one matrix product for each of the (m + 2)^2 positions
    products        the same, after the accumulators
    partial         A^T p: transformed back along the height
    crop            A^T p A, for the pixels that exist, or the largest of each 2 x 2 of them; the epilogue follows

Tiles are numbered through all images, row by row; those beyond the last are copies of it, and are dropped.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import ceil

import numpy as np
from tvm import te, tirx

from ...shapes import ConvGeometry
from ...winograd_algebra import BY_OUTPUTS
from .cost import Blocking

ANNOTATION = "tenfold.winograd"  # of the accumulating block: the blocking, as integers; rows of its result that become one
POOL = 2  # rows and columns of a window: a tile has whole windows


def pack_winograd(weight: np.ndarray, blocking: Blocking, lanes: int) -> np.ndarray:
    """OIHW (F, C, 3, 3) -> transformed: (group, position down, across, block of a group, input channel, output channel of a block).

    A block is `blocking.vectors` vectors of `lanes`; tasks read the blocks in this order.
    """
    filters, channels, *_ = weight.shape
    transformed = BY_OUTPUTS[blocking.outputs].transform_weights(weight)
    size, block = len(transformed), blocking.vectors * lanes
    return np.ascontiguousarray(transformed.reshape(size, size, -1, blocking.blocks, block, channels).transpose(2, 0, 1, 3, 5, 4))


def winograd(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, blocking: Blocking, step: Callable | None = None) -> te.Tensor:
    """The convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_winograd` makes it.
    step : callable, optional
        From a value and its channel to what max-pooling with windows of 2 x 2, one beside the other, takes the largest of. OH and OW are
        even then.

    Returns
    -------
    te.Tensor
        (N, OH, OW, F); of pooling (N, OH // 2, OW // 2, F).
    """
    form = BY_OUTPUTS[blocking.outputs]
    m, size = form.outputs, form.products
    batch, height, width, channels = (int(d) for d in data.shape)
    groups, *_, per_group, _, block = (int(d) for d in weight.shape)
    out_h, out_w = geometry.output(height, width)
    down, across = ceil(out_h / m), ceil(out_w / m)
    count = batch * down * across
    tiles = ceil(count / blocking.tiles) * blocking.tiles

    def patch(t, i, j, c):
        t = tirx.min(t, count - 1) if tiles > count else t
        y, x = t // across % down * m + i - geometry.padding[0], t % across * m + j - geometry.padding[1]
        inside = []
        if geometry.padding[0] > 0:
            inside.append(y >= 0)
        if (down - 1) * m + size - 1 - geometry.padding[0] >= height:
            inside.append(y < height)
        if geometry.padding[1] > 0:
            inside.append(x >= 0)
        if (across - 1) * m + size - 1 - geometry.padding[1] >= width:
            inside.append(x < width)
        value = data[t // (across * down), y, x, c]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype)) if inside else value

    inputs = te.compute((tiles, size, size, channels), patch, name="patch")
    lateral = te.compute((tiles, size, size, channels), lambda t, i, j, c: _nth(
        form.transform_input, [inputs[t, k, j, c] for k in range(size)], i), name="lateral")
    transformed = te.compute((size, size, tiles, channels), lambda i, j, t, c: _nth(
        form.transform_input, [lateral[t, i, k, c] for k in range(size)], j), name="transformed")
    ci = te.reduce_axis((0, channels), "ci")
    shape = (groups * per_group, size, size, tiles, block)
    acc = te.compute(shape, lambda o, i, j, t, v: te.sum(
        transformed[i, j, t, ci] * weight[o // per_group, i, j, o % per_group, ci, v], axis=[ci]),
        name="winograd", attrs={ANNOTATION: [*blocking.describe(), 1 if step is None else POOL]})
    products = te.compute(shape, lambda *i: acc(*i), name="products")
    partial = te.compute((groups * per_group, tiles, m, size, block), lambda o, t, i, j, v: _nth(
        form.transform_output, [products[o, k, j, t, v] for k in range(size)], i), name="partial")

    def crop(n, y, x, f):
        t = (n * down + y // m) * across + x // m
        return _nth(form.transform_output, [partial[f // block, t, y % m, k, f % block] for k in range(size)], x % m)

    def largest(n, y, x, f):
        each = m // POOL
        t, value = (n * down + y // each) * across + x // each, None
        for i, j in product(range(POOL), repeat=2):
            products = [partial[f // block, t, y % each * POOL + i, k, f % block] for k in range(size)]
            one = step(_nth(form.transform_output, products, x % each * POOL + j), f)
            value = one if value is None else tirx.max(value, one)
        return value

    if step is not None:
        return te.compute((batch, out_h // POOL, out_w // POOL, geometry.filters), largest, name="crop")
    return te.compute((batch, out_h, out_w, geometry.filters), crop, name="crop")


def _nth(transform: Callable[[Sequence], list], values: Sequence, index) -> tirx.PrimExpr:
    """Result number `index` of a transform: where that loop is unrolled, one expression is left, and LLVM computes common parts once."""
    *results, last = transform(values)
    for i, result in reversed(list(enumerate(results))):
        last = tirx.Select(tirx.EQ(index, i), result, last)
    return last
