"""Loop nests for reductions along the contiguous axis: softmax or normalisation over the last axis, sums over rows.

    parallel rows
        accumulators: vector of lanes, for each reduction        (see split_reduction)
            vectors of the row
        lanes to one number, unrolled
        map over the row, vectorised
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ....targets import CpuTarget
from ...tir.analysis import block_of, blocks_of
from ...tir.bound_loops import ALIKE, SPLIT
from ...tir.split_reduction import LANES, can_split, split_into_lanes
from ..common import extent_of, inner_loops, lanes_for, parallel_outer, vector_tile
from ..injective.elementwise import VECTORS, merged_axes

VECTOR_COUNTS = 1, 2, 4, 8   # accumulators: latency times the two units of a core at most; powers of two, which LLVM keeps in registers
UNROLLED = 64        # steps of a loop up to which it is unrolled


def with_lanes(func: tirx.PrimFunc, target: CpuTarget) -> tirx.PrimFunc:
    """The function with each reduction along rows split into one accumulator for each lane of a few vectors."""
    for block in blocks_of(Schedule(func)):
        lanes = lanes_for(block, target)
        axes = block.contiguous_reduced if block.is_reduction else []
        length = prod(block.extents[a] for a in axes)
        if length < lanes or not can_split(block.stmt):
            continue
        repeats = prod(block.sizes("R")) // max(1, length)
        counts = [c for c in VECTOR_COUNTS if c * lanes <= length and (repeats == 1 or length % (c * lanes) == 0)]
        if not counts:
            continue
        vectors = min(counts, key=lambda c: _row_cycles(length, repeats, lanes, c, target))
        if _row_cycles(length, repeats, lanes, vectors, target) > length * repeats * target.model.fma_latency:
            continue
        func = split_into_lanes(func, block.name, axes, vectors * lanes)
        if vectors > 1 and length % (vectors * lanes) == 0:
            func = split_into_lanes(func, block.name, [block.kinds.count("S")], lanes)
    return func


def _row_cycles(length: int, repeats: int, lanes: int, vectors: int, target: CpuTarget) -> float:
    """Cycles to reduce one row of `repeats` stretches: vector steps that wait for each other, then the lanes one by one."""
    latency = target.model.fma_latency
    steps = length // (vectors * lanes) * repeats * max(latency, vectors / target.model.fma_per_cycle)
    rest = length % (vectors * lanes)
    last = vectors * lanes + rest if rest else (vectors - 1) + lanes
    return steps + latency * last


def schedule_rows(s: Schedule, out: SBlockRV, others: Sequence[SBlockRV], row_axes: Sequence[int], work_cycles: float,
                  target: CpuTarget) -> None:
    """Schedule the block `out` and the blocks it depends on, row by row.

    Parameters
    ----------
    out : SBlockRV
        Map over the rows, or the last reduction.
    others : sequence of SBlockRV
        The other blocks in order, each with one result for a row, or for an element of it.
    row_axes : sequence of int
        Axes of `out` that number the rows.
    work_cycles : float
        Estimated cycles of all of it on one core.
    """
    block = block_of(s, out)
    loops = s.get_loops(out)
    rows = [loops[a] for a in row_axes]
    inner = [l for a, l in enumerate(loops) if a not in row_axes]
    # 1. Rows outermost.
    s.reorder(*rows, *inner)
    merged = min(len(inner), merged_axes(block, block.branch_axes)) if not block.is_reduction and inner else 1
    if merged > 1:
        s.fuse(*inner[-merged:])
    at = parallel_outer(s, rows, work_cycles, target)
    # 2. Everything of a row within its iteration.
    if at is not None:
        for other in reversed(others):
            s.compute_at(other, at, preserve_unit_loops=True)
    # 3. Vectors within the row.
    for rv in (*others, out):
        _vectorise_row(s, rv, at, target)


def _vectorise_row(s: Schedule, rv: SBlockRV, at: LoopRV | None, target: CpuTarget) -> None:
    block = block_of(s, rv)
    lanes = lanes_for(block, target)
    spatial, reduction = inner_loops(s, rv, at)
    if not block.is_reduction:
        _vectorise_last(s, spatial, lanes)
        return
    if spatial:
        s.reorder(*reduction, spatial[-1])
        if block.name.endswith(LANES):
            vector, lane = s.split(spatial[-1], [None, lanes])
            s.unroll(vector)
            s.vectorize(lane)
    if prod(extent_of(s, l) for l in reduction) <= UNROLLED:
        for loop in reduction:
            s.unroll(loop)
    s.decompose_reduction(rv, reduction[0])


def _vectorise_last(s: Schedule, loops: Sequence[LoopRV], lanes: int) -> None:
    """Vectors along the last loop. Where none fit, what is left over becomes a loop of its own in lowering: hence the hint."""
    length = extent_of(s, loops[-1]) if loops else 0
    tile = vector_tile(length, lanes, VECTORS)
    if tile is not None:
        s.vectorize(s.split(loops[-1], [None, tile])[1])
    elif length > lanes:
        vectors, vector = s.split(loops[-1], [None, lanes])
        s.vectorize(vector)
        s.annotate(vectors, SPLIT, ALIKE)
