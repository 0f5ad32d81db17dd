"""A convolution as a product of matrices, as TE: NHWC, any kernel, stride, padding, dilation, groups."""
from __future__ import annotations

from math import ceil, prod

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ...tir.loop_names import BYTE_STEPS
from ..common import VECTOR
from .fragments import term_product
from .tensor_tile import BYTES, TERMS, TensorTile
from .tile import GemmTile

ANNOTATION, TENSOR = "tenfold.gemm", "tenfold.gemm.tensor"  # of the accumulating block: the tile, as integers
SPREAD = "tenfold.gemm.spread"  # whether a thread's vectors of filters lie apart
PRECISION = "tenfold.gemm.precision"  # of the operands, on tensor cores
TOGETHER = "tenfold.gemm.together"  # of the block of patches: how many neighbouring terms are copied at once
COLUMNS, PRODUCT = "columns", "gemm"  # names of blocks


def pack_gemm(weight: np.ndarray, groups: int, tile: GemmTile) -> np.ndarray:
    """Pack a weight: OIHW -> (group, term, block, vector of a thread's filters, filter of all threads' such vectors).

    Neighbouring threads then read neighbouring vectors. Terms have the order (kernel row, kernel column, input channel). A thread's
    vectors lie next to each other in the result, or apart (`spreads`).

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
    pieces = packed.reshape(*packed.shape[:2], -1, tile.filters // tile.thread_filters, tile.thread_filters // VECTOR, VECTOR)
    if spreads(own, tile):
        return packed.reshape(*pieces.shape[:3], pieces.shape[4], -1)
    return np.ascontiguousarray(pieces.swapaxes(3, 4)).reshape(*pieces.shape[:3], pieces.shape[4], -1)


def spreads(filters: int, tile: GemmTile) -> bool:
    """Whether a thread's vectors of filters lie apart, so that neighbouring threads store neighbouring vectors: whole sectors."""
    return tile.splits == 1 and tile.thread_filters > VECTOR and filters % tile.filters == 0


def padded_terms(terms: int, tile: GemmTile) -> int:
    """The number of terms, filled up to whole steps of each split."""
    step = tile.depth * tile.splits
    return ceil(terms / step) * step


def gemm_convolution(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: GemmTile | TensorTile) -> te.Tensor:
    """Write the convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_gemm` makes it; for tensor cores, as `pack_fragments` does.
    geometry : ConvGeometry
    tile : GemmTile or TensorTile

    Returns
    -------
    te.Tensor
        (N, OH, OW, F).
    """
    batch, height, width, _ = (int(size) for size in data.shape)
    (up_h, up_w), own = geometry.upsample, geometry.filters // geometry.groups
    out_h, out_w = geometry.output((height - 1) * up_h + 1, (width - 1) * up_w + 1)
    rows = ceil(batch * out_h * out_w / tile.rows) * tile.rows
    if isinstance(tile, GemmTile):
        parts = _products(data, weight, geometry, rows, tile)
    else:
        parts = _tensor_products(data, weight, geometry, rows, tile)

    def total(n: ir.Expr, y: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        row = (n * out_h + y) * out_w + x
        return sum((parts[s, f // own, row, f % own] for s in range(1, tile.splits)), parts[0, f // own, row, f % own])

    return te.compute((batch, out_h, out_w, geometry.filters), total, name="total")


def _products(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, rows: int, tile: GemmTile) -> te.Tensor:
    """Add up the products of each split: (split, group, row, filter)."""
    groups, terms, blocks = (int(size) for size in weight.shape[:3])
    depth, own = terms // tile.splits, tile.thread_filters
    apart, across = spreads(geometry.filters // groups, tile), tile.filters // own * VECTOR
    columns, k = _patches(data, geometry, rows, terms), te.reduce_axis((0, depth), "k")
    attrs = {ANNOTATION: [tile.rows, tile.filters, tile.depth, tile.thread_rows, tile.thread_filters, tile.splits, tile.stages],
             SPREAD: int(apart)}

    def product(s: ir.Expr, g: ir.Expr, m: ir.Expr, f: ir.Expr) -> ir.Expr:
        term = s * depth + k
        if apart:
            value = weight[g, term, f // tile.filters, f % tile.filters // across, f % across]
        else:
            value = weight[g, term, f // tile.filters, f % own // VECTOR, f % tile.filters // own * VECTOR + f % VECTOR]
        return te.sum(columns[g, m, term // VECTOR, k % VECTOR] * value, axis=k)

    return te.compute((tile.splits, groups, rows, blocks * tile.filters), product, name=PRODUCT, attrs=attrs)


def _tensor_products(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, rows: int, tile: TensorTile) -> te.Tensor:
    """Add up the products of each split, in the order of a warp's matrix instruction: (split, group, row, filter)."""
    groups, warps, times = (int(size) for size in weight.shape[:3])
    depth = times // tile.splits
    columns = _patches(data, geometry, rows, times * TERMS * tile.word_terms)
    time_name = BYTE_STEPS if tile.word_terms > 1 else "kb"
    axes = [te.reduce_axis((0, size), name) for name, size in ((time_name, depth), ("ks", 2), ("kt", 4), ("kq", 2))]
    axes += [te.reduce_axis((0, BYTES), "byte")] if tile.word_terms > 1 else []
    kb, ks, kt, kq, *byte = axes
    sizes = [tile.rows, tile.filters, tile.depth, tile.warp_rows, tile.warp_filters, tile.splits, tile.stages]
    attrs = {TENSOR: sizes, PRECISION: tile.precision}

    def product(s: ir.Expr, g: ir.Expr, m: ir.Expr, f: ir.Expr) -> ir.Expr:
        time = s * depth + kb
        word = ks * 2 + kq
        patch = columns[g, m, time * 4 + kt, word * BYTES + byte[0] if byte else word]
        return te.sum(term_product(weight, tile, (g, f, time, ks, kt, kq, *byte), patch), axis=axes)

    return te.compute((tile.splits, groups, rows, warps * tile.warp_filters), product, name=PRODUCT, attrs=attrs)


def _patches(data: te.Tensor, geometry: ConvGeometry, rows: int, terms: int) -> te.Tensor:
    """Write the patches: (group, row, vector of terms, term of it); zero on the padding, and beyond the last pixel and the last term.

    A vector has 16 bytes. Of bytes, the channels of a pixel are filled up to whole words.
    """
    batch, height, width, all_channels = (int(size) for size in data.shape)
    channels = all_channels // geometry.groups
    of_bytes = data.dtype == "uint8"
    vector, held = (BYTES * VECTOR, word_channels(channels)) if of_bytes else (VECTOR, channels)
    side = vector if held % vector == 0 else BYTES if of_bytes else 1  # terms that lie side by side, with one tap
    (kernel_h, kernel_w), (up_h, up_w) = geometry.kernel, geometry.upsample
    spread_h, spread_w = (height - 1) * up_h + 1, (width - 1) * up_w + 1
    out_h, out_w = geometry.output(spread_h, spread_w)

    def patch(g: ir.Expr, m: ir.Expr, few: ir.Expr, one: ir.Expr) -> ir.Expr:
        n, y, x = m // (out_h * out_w), m // out_w % out_h, m % out_w
        some, piece, rest = held // side, few * (vector // side), one
        if side < vector:
            piece, rest = piece + one // side, one % side
        ky, kx, c = piece // (kernel_w * some), piece // some % kernel_w, piece % some * side + rest
        row = y * geometry.stride[0] + ky * geometry.dilation[0] - geometry.padding[0]
        column = x * geometry.stride[1] + kx * geometry.dilation[1] - geometry.padding[1]
        inside = [] if rows == batch * out_h * out_w else [m < batch * out_h * out_w]
        if terms > kernel_h * kernel_w * held:
            inside.append(piece < kernel_h * kernel_w * some)
        if held > channels:
            inside.append(c < channels)
        if geometry.padding[0] > 0 or geometry.padding[2] > 0:
            inside += [row >= 0, row < spread_h]
        if geometry.padding[1] > 0 or geometry.padding[3] > 0:
            inside += [column >= 0, column < spread_w]
        if (up_h, up_w) != (1, 1):
            inside += [tirx.EQ(row % up_h, 0), tirx.EQ(column % up_w, 0)]
        value = data[n, row // up_h, column // up_w, g * channels + c]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype)) if inside else value

    return te.compute((geometry.groups, rows, terms // vector, vector), patch, name=COLUMNS, attrs={TOGETHER: side})


def word_channels(channels: int) -> int:
    """Channels of bytes, filled up to whole words."""
    return ceil(channels / BYTES) * BYTES


def gemm_dense(data: te.Tensor, weight: te.Tensor, filters: int, tile: GemmTile | TensorTile) -> te.Tensor:
    """Write a fully connected layer as TE: (..., C) -> (..., F), the weight packed as of (F, C, 1, 1)."""
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
