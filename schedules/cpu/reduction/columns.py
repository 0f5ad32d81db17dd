"""Loop nests for reductions along other axes than the contiguous one: pooling, global pooling of NHWC images, softmax over channels.

    parallel outer axes
        tile of the contiguous axis
            reduction axes, unrolled where short
                vectorised lanes of the tile        accumulators in registers
            vectorised map of the tile, stores
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, gcd, prod

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ....targets import CpuTarget
from ...tir.analysis import Block, block_of
from ...tir.bound_loops import ALIKE, SPLIT
from ..common import STACK_BYTES, extent_of, inner_loops, lanes_for, parallel_outer

UNROLLED = 25        # steps of a reduction (a window of 5 x 5) up to which it is unrolled
MOST_OF_A_ROW = 6    # vectors of a whole row whose columns don't fill the last of them
REUSE_REGISTERS = 2  # of columns in a tile of several rows: each vector is loaded once for all of them


@dataclass(frozen=True)
class Tile:
    """Accumulators of a tile: `rows` x `vectors` vectors of `length` columns each.

    The length is a power of two, and may be that of several registers: LLVM keeps accumulators of other lengths in memory, and
    tests for padding once for each vector. Of a whole row the last vector has the columns that are left.
    """

    rows: int
    vectors: int
    length: int


def choose_tile(columns: int, rows: int, tasks: int, lanes: int, target: CpuTarget) -> Tile:
    """The tile for results of a number of columns.

    Parameters
    ----------
    rows : int
        Length of an axis whose neighbours share an operand that has the columns, as in a matrix product; 1 if there is none.
    tasks : int
        How many results of that number of columns there are. If they leave cores without a task, a tile is made smaller, but
        not narrower than a cache line.
    lanes : int
        Columns in a register.
    """
    registers = REUSE_REGISTERS if rows > 1 else target.vector_registers // 2
    stack = (STACK_BYTES - 1) * 8 * lanes // target.vector_bits
    most = min(registers * lanes, stack)
    while tasks * columns // most < target.cores and most * target.vector_bits > 8 * target.model.line_bytes * lanes:
        most //= 2
    length, whole = gcd(columns, 1 << (most.bit_length() - 1)), ceil(columns / lanes)
    if rows > 1 and length < lanes < columns and whole <= MOST_OF_A_ROW:
        fitting = min(target.vector_registers * 3 // 4 // whole, stack // (whole * lanes), tasks // target.cores)
        return Tile(max(r for r in range(1, max(1, fitting) + 1) if rows % r == 0), whole, lanes)
    count = max(1, most // max(length, lanes))
    vectors = max(v for v in range(1, count + 1) if columns // length % v == 0)
    fitting = min(target.vector_registers * 3 // 4 // (vectors * max(1, length // lanes)), stack // (vectors * length))
    fitting = min(fitting, tasks * columns // (vectors * length) // target.cores)
    return Tile(max(r for r in range(1, max(1, fitting) + 1) if rows % r == 0), vectors, length)


def schedule_columns(s: Schedule, out: SBlockRV, others: Sequence[SBlockRV], row_axes: Sequence[int], work_cycles: float,
                     target: CpuTarget) -> None:
    """Schedule the block `out` and the blocks it depends on, tile by tile of the contiguous axis.

    Parameters
    ----------
    out : SBlockRV
        The block that stores the result; no reduction. Its last axis is the contiguous one.
    others : sequence of SBlockRV
        The other blocks in order, each with one result for a column, or for an element of it.
    row_axes : sequence of int
        Axes of `out` that number the columns, the contiguous one last.
    work_cycles : float
        Estimated cycles of all of it on one core.
    """
    lanes = min(lanes_for(block_of(s, rv), target) for rv in (*others, out))
    while len(row_axes) > 1 and _one_axis(s, out, others, row_axes, lanes):
        row_axes = row_axes[:-1]
    loops = s.get_loops(out)
    *outer, last = [loops[a] for a in row_axes]
    inner = [l for a, l in enumerate(loops) if a not in row_axes]
    # 1. A tile of columns in registers, of several rows where they share an operand.
    shared = _shared_axis(block_of(s, others[0])) if len(others) == 1 and not inner else None
    rows = 1 if shared is None else extent_of(s, outer[shared])
    columns = extent_of(s, last)
    tile = choose_tile(columns, rows, prod(extent_of(s, l) for l in outer), lanes, target)
    width = min(tile.vectors * tile.length, columns)
    if shared is not None and tile.rows > 1:
        outer[shared], row = s.split(outer[shared], [None, tile.rows])
        inner = [row]
    column_out, column = s.split(last, [None, width])
    s.reorder(*outer, column_out, *inner, column)
    at = parallel_outer(s, [*outer, column_out], work_cycles, target)
    # 2. Everything of a tile within its iteration.
    for other in reversed(others):
        s.compute_at(other, at, preserve_unit_loops=True)
    # 3. Vectors of columns innermost.
    if shared is not None and tile.rows > 1:
        s.unroll(inner[0])
    _vectorise(s, column, tile)
    for rv in others:
        if columns < tile.vectors * tile.length:  # rows of whole vectors: of others LLVM mixes the ends of the rows
            s.storage_align(rv, 0, len(s.get(rv).writes[0].source.shape) - 2, tile.length, 0)
        spatial, reduction = inner_loops(s, rv, at)
        if reduction:
            rows_inner = [spatial[shared]] if shared is not None and tile.rows > 1 else []
            s.reorder(*reduction, *rows_inner, spatial[-1])
            for loop in rows_inner:
                s.unroll(loop)
        _vectorise(s, spatial[-1], tile)
        if reduction:
            if prod(extent_of(s, l) for l in reduction) <= UNROLLED:
                for loop in reduction:
                    s.unroll(loop)
            s.decompose_reduction(rv, reduction[0])


def _one_axis(s: Schedule, out: SBlockRV, others: Sequence[SBlockRV], row_axes: Sequence[int], lanes: int) -> bool:
    """Make one axis of the last two that number the columns, where the last one is a part of a vector.

    x[k, 256, 4]    ->    x[k, 1024]

    They have to lie behind one another in all that the blocks read and write.
    """
    found = [(rv, block_of(s, rv)) for rv in (*others, out)]
    lengths = [found[-1][1].extents[a] for a in row_axes]
    if lengths[-1] >= lanes or lanes % lengths[-1]:
        return False
    pairs = []
    for rv, block in found:
        axes = list(row_axes) if block.extents == found[-1][1].extents else [i for i, kind in enumerate(block.kinds) if kind == "S"]
        if [block.extents[a] for a in axes] != lengths or axes[-1] != axes[-2] + 1 or not s.get_loops(rv):
            return False
        first, last = axes[-2:]
        for access in (*block.stores, *block.loads):
            step, within = block.stride(access, first), block.stride(access, last)
            if step is None or within is None or step != lengths[-1] * within:
                return False
        pairs.append((rv, block, first))
    for rv, block, first in pairs:
        dtype = str(block.axes[0].ty.dtype)
        s.transform_block_layout(rv, tirx.IndexMap.from_func(_with_one(first, lengths[-1]), ndim=len(block.axes), index_dtype=dtype))
    return True


def _with_one(first: int, length: int) -> Callable[..., tuple[ir.Expr, ...]]:
    """The indices with one instead of two neighbours, of which the second is so long."""
    return lambda *v: (*v[:first], v[first] * length + v[first + 1], *v[first + 2:])


def _shared_axis(block: Block) -> int | None:
    """The innermost spatial axis along which an operand with the columns does not change: neighbours can share its vectors.

    One that does not change along the reduction either is in a register anyway.
    """
    last = block.kinds.rfind("S")
    reduced = [i for i, kind in enumerate(block.kinds) if kind == "R" and block.extents[i] > 1]
    operands = [ld for ld in block.loads if block.stride(ld, last) == 1 and any(block.stride(ld, i) != 0 for i in reduced)]
    axes = [i for i in range(last) if block.kinds[i] == "S" and block.extents[i] > 1]
    return next((a for a in reversed(axes) if any(block.stride(ld, a) == 0 for ld in operands)), None)


def _vectorise(s: Schedule, column: LoopRV, tile: Tile) -> None:
    extent = extent_of(s, column)
    vector, lane = s.split(column, [None, tile.length])
    if extent_of(s, vector) * tile.length > extent:
        s.annotate(vector, SPLIT, ALIKE)
    s.unroll(vector)
    s.vectorize(lane)
