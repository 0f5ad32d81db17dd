"""A convolution as a product of matrices, as TE: NHWC, any kernel, stride, padding, dilation, groups."""
from __future__ import annotations

from math import ceil, prod

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ..common import VECTOR
from .tile import GemmTile

ANNOTATION = "tenfold.gemm"  # of the accumulating block: the tile, as integers
CHANNELS = "tenfold.gemm.channels"  # of the block of patches: how many neighbouring terms lie next to each other
COLUMNS, PRODUCT = "columns", "gemm"  # names of blocks


def pack_gemm(weight: np.ndarray, groups: int, tile: GemmTile) -> np.ndarray:
    """Pack a weight: OIHW -> (group, term, filter), terms in the order (kernel row, kernel column, input channel).

    Parameters
    ----------
    weight : ndarray
        (F, C / groups, KH, KW).
    groups : int
    tile : GemmTile
        Terms are filled up with zeros to whole steps of each split, filters to whole blocks.
    """
    filters, channels, height, width = weight.shape
    own = filters // groups
    terms = channels * height * width
    packed = np.zeros((groups, padded_terms(terms, tile), ceil(own / tile.filters) * tile.filters), weight.dtype)
    matrix = weight.reshape(groups, own, channels, height, width).transpose(0, 3, 4, 2, 1)
    packed[:, :terms, :own] = matrix.reshape(groups, terms, own)
    return packed


def padded_terms(terms: int, tile: GemmTile) -> int:
    """The number of terms, filled up to whole steps of each split."""
    step = tile.depth * tile.splits
    return ceil(terms / step) * step


def gemm_convolution(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: GemmTile) -> te.Tensor:
    """Write the convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_gemm` makes it.
    geometry : ConvGeometry
    tile : GemmTile

    Returns
    -------
    te.Tensor
        (N, OH, OW, F).
    """
    batch, height, width, all_channels = (int(size) for size in data.shape)
    groups, terms, filters = (int(size) for size in weight.shape)
    channels, own = all_channels // geometry.groups, geometry.filters // geometry.groups
    (kernel_h, kernel_w), (up_h, up_w) = geometry.kernel, geometry.upsample
    spread_h, spread_w = (height - 1) * up_h + 1, (width - 1) * up_w + 1
    out_h, out_w = geometry.output(spread_h, spread_w)
    count = batch * out_h * out_w
    rows = ceil(count / tile.rows) * tile.rows
    depth = terms // tile.splits

    def patch(g: ir.Expr, m: ir.Expr, few: ir.Expr, one: ir.Expr) -> ir.Expr:
        """An element of a patch; zero on the padding, and beyond the last pixel and the last term."""
        n, y, x = m // (out_h * out_w), m // out_w % out_h, m % out_w
        k = few * VECTOR + one
        ky, kx, c = k // (kernel_w * channels), k // channels % kernel_w, k % channels
        if channels % VECTOR == 0:  # a vector of terms has one tap, and lies side by side
            some = channels // VECTOR
            ky, kx, c = few // (kernel_w * some), few // some % kernel_w, few % some * VECTOR + one
        row = y * geometry.stride[0] + ky * geometry.dilation[0] - geometry.padding[0]
        column = x * geometry.stride[1] + kx * geometry.dilation[1] - geometry.padding[1]
        inside = [] if rows == count else [m < count]
        if terms > kernel_h * kernel_w * channels:
            inside.append(k < kernel_h * kernel_w * channels)
        if geometry.padding[0] > 0 or geometry.padding[2] > 0:
            inside += [row >= 0, row < spread_h]
        if geometry.padding[1] > 0 or geometry.padding[3] > 0:
            inside += [column >= 0, column < spread_w]
        if (up_h, up_w) != (1, 1):
            inside += [tirx.EQ(row % up_h, 0), tirx.EQ(column % up_w, 0)]
        value = data[n, row // up_h, column // up_w, g * channels + c]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype)) if inside else value

    columns = te.compute((groups, rows, terms // VECTOR, VECTOR), patch, name=COLUMNS, attrs={CHANNELS: channels})
    k = te.reduce_axis((0, depth), "k")
    attrs = {ANNOTATION: [tile.rows, tile.filters, tile.depth, tile.thread_rows, tile.thread_filters, tile.splits, tile.stages]}
    parts = te.compute(
        (tile.splits, groups, rows, filters),
        lambda s, g, m, f: te.sum(columns[g, m, (s * depth + k) // VECTOR, k % VECTOR] * weight[g, s * depth + k, f], axis=k), name=PRODUCT, attrs=attrs,
    )  # fmt: skip

    def total(n: ir.Expr, y: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        row = (n * out_h + y) * out_w + x
        return sum((parts[s, f // own, row, f % own] for s in range(1, tile.splits)), parts[0, f // own, row, f % own])

    return te.compute((batch, out_h, out_w, geometry.filters), total, name="total")


def gemm_dense(data: te.Tensor, weight: te.Tensor, filters: int, tile: GemmTile) -> te.Tensor:
    """Write a fully connected layer as TE: (..., C) -> (..., F), the weight as `pack_gemm` makes it of (F, C, 1, 1)."""
    *lead, channels = (int(size) for size in data.shape)
    count = prod(lead)
    image = te.compute((1, 1, count, channels), lambda n, y, x, c: data[tuple([*unravel(x, lead), c])], name="rows")
    result = gemm_convolution(image, weight, ConvGeometry(filters, (1, 1)), tile)
    return te.compute((*lead, filters), lambda *i: result[0, 0, ravel(i[:-1], lead), i[-1]], name="shaped")


def ravel(index: tuple[ir.Expr, ...], shape: list[int]) -> ir.Expr:
    """The position of an index in row-major order."""
    position = index[0] if index else tirx.const(0, "int64")
    for i, size in zip(index[1:], shape[1:], strict=True):
        position = position * size + i
    return position


def unravel(position: ir.Expr, shape: list[int]) -> list[ir.Expr]:
    """The index at a position in row-major order."""
    index: list[ir.Expr] = []
    for size in reversed(shape[1:]):
        index.append(position % size)
        position = position // size
    return [position, *reversed(index)] if shape else []
