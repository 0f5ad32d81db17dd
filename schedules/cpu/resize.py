"""Resizing of a channels-last image along rows, then along columns.

    parallel row of the result
        column of the image, channel as vectors         the row of the image that lies there: a sum of neighbours
        column of the result, channel as vectors        sums of its neighbours, and the epilogue

A result that is wanted as (N, C, H, W) is written so at once, a vector of neighbouring columns at a time. The vector is a sum of all
columns of the image that it is made of, each times a constant vector:

        channel
            vector of columns: sum of (number of the row above) x (vector of weights)
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm_ffi
from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock

from ...targets import CpuTarget
from ..backend import BoundKernel
from ..interpolation import Interpolation, banded
from ..tir.analysis import block_of, find_annotated
from ..tir.epilogue import inline_epilogue
from .common import extent_of, vector_tile, worth_sharing

ANNOTATION = "tenfold.resize"  # of the block of rows: columns of a vector of the result, 0 where it is channels-last
ROWS = "resized_rows"          # the name of the block
MOST_TAPS = 8                  # neighbours of a pixel, or of a vector: sums are written out
COLUMN_VECTORS = 2             # in a step along columns


def choose_resize(shape: Sequence[int], size: tuple[int, int], how: Interpolation, to_nchw: bool, target: CpuTarget) -> BoundKernel | None:
    """Return the kernel; None where one isn't made so.

    Parameters
    ----------
    shape : sequence of int
        Of the image, (N, H, W, C).
    size : tuple of int
        Height and width of the result.
    how : Interpolation
    to_nchw : bool
        The result is wanted as (N, C, H, W).
    target : CpuTarget
    """
    rows = how.taps(shape[1], size[0])
    lanes = vector_tile(size[1], target.lanes, 1) if to_nchw else 0
    if lanes is None:
        return None
    columns = _vectors(how.matrix(shape[2], size[1]), lanes) if to_nchw else how.taps(shape[2], size[1])
    if max(rows[1].shape[1], columns[1].shape[1]) > MOST_TAPS:
        return None

    def compute(*tensors: te.Tensor) -> te.Tensor:
        return resize(*tensors, lanes=lanes)

    return BoundKernel([*rows, *columns], compute)


def _vectors(matrix: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """The first column that each vector of columns is made of, (vectors,), and the weights, (vectors, columns, lanes)."""
    whole = matrix.reshape(-1, lanes, matrix.shape[1])
    begins, used = banded(np.abs(whole).max(1))
    at = begins[:, None, None] + np.arange(used.shape[1])
    weights = np.take_along_axis(whole, np.broadcast_to(at, (*whole.shape[:2], used.shape[1])), 2)
    return begins, np.ascontiguousarray(weights.transpose(0, 2, 1)).astype("float32")


def resize(data: te.Tensor, first_row: te.Tensor, row_weights: te.Tensor, first_column: te.Tensor, column_weights: te.Tensor, *,
           lanes: int) -> te.Tensor:
    """Write the kernel as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    first_row, row_weights : te.Tensor
        (OH,) and (OH, neighbours), as `Interpolation.taps` makes them.
    first_column, column_weights : te.Tensor
        (OW,) and (OW, neighbours); or (OW / lanes,) and (OW / lanes, neighbours, lanes).
    lanes : int
        Columns of a vector of a result that lies as (N, C, OH, OW); 0 for one that lies as (N, OH, OW, C).
    """
    batch, _, width, channels = (int(d) for d in data.shape)
    height, taps = (int(d) for d in row_weights.shape)

    def row(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        return _sum([data[n, first_row[y] + k, x, c] * row_weights[y, k] for k in range(taps)])

    rows = te.compute((batch, height, width, channels), row, name=ROWS, attrs={ANNOTATION: [lanes]})
    vectors, taps = (int(d) for d in column_weights.shape[:2])

    def pixel(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        return _sum([rows[n, y, first_column[x] + k, c] * column_weights[x, k] for k in range(taps)])

    def of_vector(n: ir.Expr, c: ir.Expr, y: ir.Expr, x: ir.Expr) -> ir.Expr:
        vector = x // lanes
        return _sum([rows[n, y, first_column[vector] + k, c] * column_weights[vector, k, x % lanes] for k in range(taps)])

    if lanes:
        return te.compute((batch, channels, height, vectors * lanes), of_vector, name="resized")
    return te.compute((batch, height, vectors, channels), pixel, name="resized")


def _sum(terms: list[ir.Expr]) -> ir.Expr:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def schedule_resize(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions around `resize`, with any element-wise epilogue."""
    s = Schedule(func)
    rows = find_annotated(s, ANNOTATION)
    if rows is None:
        return None
    lanes = int(s.get(rows).annotations[ANNOTATION][0])
    # 1. One block behind the rows: columns, and the epilogue.
    out_name = s.get(inline_epilogue(s, rows)).name_hint
    s = _reading_whole_rows(s, s.get(rows).writes[0].source)
    rows, out = s.get_sblock(ROWS), s.get_sblock(out_name)
    work = block_of(s, out).work_cycles(target.model)
    # 2. Tasks.
    if lanes:
        n, channel, y, column = s.get_loops(out)
        s.reorder(n, y, channel, column)
        inner = column
        tile: int | None = lanes
    else:
        n, y, _, inner = s.get_loops(out)
        tile = vector_tile(extent_of(s, inner), target.lanes, COLUMN_VECTORS)
    task = s.fuse(n, y)
    if worth_sharing(work, target):
        s.parallel(task)
    # 3. Vectors.
    if tile is not None:
        s.vectorize(s.split(inner, [None, tile])[1])
    s.compute_at(rows, task, preserve_unit_loops=True)
    line = s.fuse(*s.get_loops(rows)[-2:])
    tile = vector_tile(extent_of(s, line), target.lanes, COLUMN_VECTORS)
    if tile is not None:
        s.vectorize(s.split(line, [None, tile])[1])
    return s


def _reading_whole_rows(s: Schedule, rows: tirx.Buffer) -> Schedule:
    """Declare that the reader of rows reads all their columns: which of them stands in a table."""
    def whole(region: tirx.BufferRegion) -> tirx.BufferRegion:
        if not region.source.same_as(rows):
            return region
        n, y, x, c = region.region
        return tirx.BufferRegion(rows, [n, y, ir.Range.from_min_extent(tirx.const(0, str(x.min.ty.dtype)), rows.shape[2]), c])

    def reading(block: SBlock) -> SBlock:
        return SBlock(block.iter_vars, [whole(region) for region in block.reads], block.writes, block.name_hint, block.body, block.init,
                      block.alloc_buffers, block.match_buffers, block.annotations)

    func = s.mod["main"]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, (SBlock, reading), order="post")))
