"""Element-wise and injective functions: activations, broadcasts, resizing, slices, permutes, concatenation, gathers.

The loop nest made, one for each result (and for each expensive part that is kept):

    parallel outer axes                     fused until every core has a few tasks; serial where the work is small
        other axes
            vectorised innermost axis       axes that are contiguous in every operand count as one

    permute: parallel outer axes, tiles that are transposed in registers (`transpose_tiles.py`)
    concatenation along the innermost axis: one vectorised loop for each operand, without a branch
"""
from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError

from ....targets import CpuTarget
from ...kernel import SCALED
from ...tir.analysis import Access, Block, block_of, blocks_of
from ...tir.tidy import tidied
from ...tir.transpose_tiles import transposed_tiles
from ..common import extent_of, lanes_for, parallel_outer, vector_tile, worth_sharing

VECTORS = 4           # vectors that one step computes: enough to hide the latency of a polynomial, few enough for 16 registers
SEGMENT_VECTORS = 8   # of an operand of a concatenation whose length is odd: longer ones are left to LLVM's own vectoriser


def schedule_elementwise(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions without reductions."""
    # 1. One block for each result.
    s = tidied(func)
    if s is None or not all(b.plain and set(b.kinds) <= {"S"} for b in blocks_of(s)):
        return None
    # 2. Each of them alone.
    for block in blocks_of(s):
        schedule_spatial(s, block.rv, target)
    return s


def schedule_spatial(s: Schedule, rv: SBlockRV, target: CpuTarget) -> None:
    """Schedule one block without reduction axes, in a loop nest of its own."""
    block = block_of(s, rv)
    loops = s.get_loops(rv)
    if not loops or len(loops) != len(block.kinds):
        return
    if not block.plain:
        parallel_outer(s, loops, block.work_cycles(target.model), target)
        return
    lanes = lanes_for(block, target)
    chosen = block.branch_axes
    # 1. The innermost axes that are contiguous in every operand become one.
    merged = merged_axes(block, chosen)
    outer, inner = list(loops[:-merged]), s.fuse(*loops[-merged:]) if merged > 1 else loops[-1]
    length = extent_of(s, inner)
    rows = _contiguous_row_axis(block, merged)
    last = len(loops) - 1
    if last in chosen:
        # 2a. Which operand is read changes along the innermost axis.
        outer, segments = _split_at_borders(s, block, outer, inner, chosen[last], lanes)
        parallel_outer(s, outer, block.work_cycles(target.model), target)
        segments()
        return
    if rows is not None:
        loads_go_on = _loads_lie_apart(block, rows)
        outer, rows = _merge_rows(s, block, outer, rows)
    if rows is not None and length >= lanes and extent_of(s, outer[rows]) >= lanes:
        # 2b. A permute: contiguous loads along one axis, contiguous stores along the other.
        row = outer.pop(rows)
        outer = [*outer, *transposed_tiles(s, row, inner, lanes, loads_go_on)]
        s.reorder(*outer)  # an axis between the two may be left
        parallel_outer(s, outer, block.work_cycles(target.model), target)
        return
    # 2c. The plain case.
    tile = vector_tile(length, lanes, VECTORS) if length >= lanes else None
    if tile is not None:
        inner, vector = s.split(inner, [None, tile])
        s.vectorize(vector)
        outer = [*outer, inner]
    elif not outer:
        # A single axis of prime length: tasks with a bounds check, vectorised by LLVM.
        outer = s.split(inner, [min(length, 4 * target.cores), None])[:1]
    parallel_outer(s, outer, block.work_cycles(target.model), target)


def schedule_scaled(s: Schedule, target: CpuTarget) -> None:
    """Schedule the block that scales a weight, where a function has one."""
    for block in s.get_child_blocks(s.get_sblock("root")):
        if s.get(block).name_hint == SCALED:
            schedule_spatial(s, block, target)


def schedule_untouched(s: Schedule, target: CpuTarget) -> Schedule:
    """Schedule the element-wise blocks whose loop nests are as they were written, and worth more than one thread."""
    for block in blocks_of(s):
        loops = s.get_loops(block.rv)
        written = len(loops) == len(block.kinds) and all(s.get(l).kind == tirx.ForKind.SERIAL and not s.get(l).annotations for l in loops)
        alone = all(not isinstance(s.get(l).body, tirx.SeqStmt) for l in loops)
        if block.plain and set(block.kinds) <= {"S"} and written and alone and worth_sharing(block.work_cycles(target.model), target):
            schedule_spatial(s, block.rv, target)
    return s


def merged_axes(block: Block, apart: dict[int, list]) -> int:
    """How many of the innermost axes lie behind one another in every operand, so that they can be one loop."""
    accesses = [*block.stores, *block.loads]
    last = len(block.extents) - 1
    length: int = block.extents[last]
    strides = [block.stride(a, last) for a in accesses]
    for axis in range(last - 1, -1, -1):
        if axis in apart or axis + 1 in apart:
            return last - axis
        if block.extents[axis] == 1:
            continue
        here = [block.stride(a, axis) for a in accesses]
        if length == 1:
            strides = here
        elif any(h is None or t is None or h != length * t for h, t in zip(here, strides, strict=True)):
            return last - axis
        length *= block.extents[axis]
    return last + 1


def _largest(block: Block) -> Access | None:
    """The largest operand."""
    return max(block.loads, key=lambda ld: prod(int(d) for d in ld.buffer.shape), default=None)


def _loads_lie_apart(block: Block, rows: int) -> bool:
    """Whether the vectors of a tile lie further apart where they are loaded than where they are stored."""
    load = _largest(block)
    return load is not None and (block.stride(load, len(block.extents) - 1) or 0) > (block.stride(block.stores[0], rows) or 0)


def _contiguous_row_axis(block: Block, merged: int) -> int | None:
    """The axis along which the largest operand is contiguous, where that is not the innermost one."""
    load = _largest(block)
    last = len(block.extents) - 1
    if load is None or block.stride(load, last) in (0, 1) or block.stride(block.stores[0], last) != 1:
        return None
    return next((a for a in range(last - merged + 1) if block.extents[a] > 1 and block.stride(load, a) == 1), None)


def _merge_rows(s: Schedule, block: Block, outer: list[LoopRV], rows: int) -> tuple[list[LoopRV], int]:
    """One loop out of the axis `rows` and those before it that lie behind one another in every operand, and where it is now."""
    accesses, length = [*block.stores, *block.loads], block.extents[rows]
    first = rows
    while first > 0 and all(block.stride(a, first - 1) == length * (block.stride(a, rows) or 0) for a in accesses):
        first -= 1
        length *= block.extents[first]
    if first == rows:
        return outer, rows
    return [*outer[:first], s.fuse(*outer[first : rows + 1]), *outer[rows + 1 :]], first


def _split_at_borders(s: Schedule, block: Block, outer: list[LoopRV], inner: LoopRV, borders: list[int],
                      lanes: int) -> tuple[list[LoopRV], Callable[[], None]]:
    """Cut the innermost loop where the operand changes; the cut itself comes last, because no other step works after it.

    for c: y = b[c - 16] if 16 <= c else a[c]    ->    for c < 16: y = a[c];  for c < 8: y[c + 16] = b[c]
    """
    length = extent_of(s, inner)
    common = gcd(length, *borders)
    tile = vector_tile(common, lanes, VECTORS) if common >= lanes else None
    if tile is not None:
        inner, vector = s.split(inner, [None, tile])
        s.vectorize(vector)
    unit = tile or 1
    cuts = [0, *(b // unit for b in borders), length // unit]
    sizes = [b - a for a, b in zip(cuts, cuts[1:], strict=False)]

    def cut() -> None:
        if len(sizes) < 2:
            return
        try:
            segments = s.loop_partition(inner, [*sizes[:-1], None])
        except ScheduleError:
            return
        for segment, size in zip(segments, sizes, strict=True):
            if tile is None and 1 < size <= SEGMENT_VECTORS * lanes:
                s.vectorize(segment)

    return outer, cut
