"""Norms and softmax: reductions over rows and what is computed from them, as one kernel.

    block, threads along y (rows)                   by rows, where terms lie next to each other; by columns the threads along x have
        each reduction                              neighbouring rows, and those along y share the terms
            threads along x: terms, added up across these; all of them know the result
        threads along x: elements of the row, from the results
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError

from ...targets import GpuTarget
from ...targets.gpu_target import MOST_THREADS, WARP
from ..tir.analysis import Block, block_of, blocks_of, outputs
from .common import BLOCKS, THREADS, THREADS_X, THREADS_Y, VECTOR

FEWEST_TERMS = 16  # with fewer, each thread adds up for itself
SHARING = 7  # threads of a column: an odd number, so that parts of neighbouring columns lie in different banks
RESULTS_OF_SM = 256  # with more of them, a reduction without anything behind it is added up by single threads


@dataclass(frozen=True)
class Shape:
    """Threads of a block: `rows` rows, and `terms` of each; whether neighbours have neighbouring rows."""

    rows: int
    terms: int
    columns: bool


def schedule_rows(s: Schedule, target: GpuTarget) -> Schedule | None:
    """Schedule a tidy function as one kernel; None where it is not reductions over the same rows, and one result of these."""
    s = s.copy()
    _inline(s)
    blocks = blocks_of(s)
    *before, last = blocks
    reductions = [block for block in blocks if block.is_reduction]
    if not reductions or not all(block.is_reduction for block in before) or len(outputs(s.mod["main"])) != 1:
        return None
    if not all(crosses(s, block) for block in reductions):
        return None
    rows, terms = prod(reductions[0].sizes("S")), prod(reductions[0].sizes("R"))
    if any(prod(block.sizes("S")) != rows for block in reductions) or terms < FEWEST_TERMS:
        return None
    if last.points <= rows and rows >= target.model.sms * RESULTS_OF_SM:
        return None
    shape = _shape(reductions[0], rows, terms, target)
    if last.is_reduction and rows % shape.rows:
        # TVM stores what threads have added up for every row of a block, those behind the last one too: another block stores it.
        out = s.cache_write(last.rv, 0, "local")
        before, last = [*before, block_of(s, last.rv)], block_of(s, out)
    try:
        own, others = _row_loops(s, last, before)
        return _scheduled(s, last.rv, own, others, before, shape)
    except ScheduleError:
        return None


def crosses(s: Schedule, block: Block) -> bool:
    """Whether threads can share the terms of a reduction: whether TVM knows how its parts are put together."""
    if not set(block.kinds) <= {"S", "R"} or not block.is_reduction or any(int(store.buffer.dtype.bits) < 32 for store in block.stores):
        return False  # TVM adds up smaller numbers of a warp without barriers
    trial = s.copy()
    loops = trial.get_loops(block.rv)
    if "S" not in block.kinds and len(block.stores) > 1:
        return False  # TVM can't tell for one result of several values
    try:
        outer, _ = trial.split(loops[block.kinds.rindex("R")], [1, None])
        trial.rfactor(outer, 0)
    except (ScheduleError, ValueError):
        return False
    return True


def _inline(s: Schedule) -> None:
    """Compute again what a reduction and the result both read (exp in a softmax): it costs less than a pass through memory."""
    for block in blocks_of(s)[:-1]:
        if not block.is_reduction:
            try:
                s.compute_inline(block.rv)
            except ScheduleError:
                continue


def _row_loops(s: Schedule, last: Block, reductions: Sequence[Block]) -> tuple[list[LoopRV], list[LoopRV]]:
    """The loops of the last block over rows, and its others. Loops over rows are split off where an axis has several of a row."""
    loops = list(s.get_loops(last.rv))
    if last.is_reduction:
        kinds = dict(enumerate(last.kinds))
        return [loops[i] for i in kinds if kinds[i] == "S"], [loops[i] for i in kinds if kinds[i] == "R"]
    found: dict[int, LoopRV] = {}
    results = [store.buffer for block in reductions for store in block.stores]
    for load in last.loads:
        if not any(load.buffer.same_as(result) for result in results):
            continue
        for index in load.indices:
            _take(s, last, index, loops, found)
    others = [loop for axis, loop in enumerate(loops) if loop is not None]
    return [found[axis] for axis in sorted(found)], others


def _take(s: Schedule, last: Block, index: ir.Expr, loops: list[LoopRV | None], found: dict[int, LoopRV]) -> None:
    """Take the loop that an index of a row goes along from the others: `axis`, or `axis // length`."""
    if isinstance(index, tirx.IntImm):
        return
    length = 1
    if isinstance(index, tirx.FloorDiv) and isinstance(index.b, tirx.IntImm):
        index, length = index.a, int(index.b.value)
    axis = next((axis for axis, var in enumerate(last.axes) if var.same_as(index)), None)
    if axis is None:
        raise ScheduleError("a row that is no axis of the result")
    if axis in found:
        return
    loop = loops[axis]
    if length > 1:
        if last.extents[axis] % length:
            raise ScheduleError("rows that are cut off")
        loop, loops[axis] = s.split(loop, [None, length])
    else:
        loops[axis] = None
    found[axis] = loop


def _shape(block: Block, rows: int, terms: int, target: GpuTarget) -> Shape:
    strides = [block.stride(load, axis) for load in block.loads for axis in range(len(block.extents))
               if block.kinds[axis] == "S" and block.extents[axis] > 1]
    # A part of a warp's columns can only be left out of a reduction of one value.
    if not block.contiguous_reduced and 1 in strides and (len(block.stores) == 1 or rows % WARP == 0):
        return Shape(min(WARP, _whole(rows)), SHARING, True)
    across = min(MOST_THREADS if rows < target.model.sms else THREADS, max(WARP, _whole(terms // VECTOR)))
    return Shape(gcd(rows, max(1, THREADS // 2 // across)), across, False)


def _whole(number: int) -> int:
    """The largest power of two up to a number."""
    return 1 << max(0, number.bit_length() - 1)


def _scheduled(s: Schedule, last: SBlockRV, own: list[LoopRV], others: list[LoopRV], before: Sequence[Block], shape: Shape) -> Schedule:
    row, term = (THREADS_X, THREADS_Y) if shape.columns else (THREADS_Y, THREADS_X)
    if not others:
        others = [s.add_unit_loop(last)]
    if not own:
        own = [s.add_unit_loop(s.get_loops(last)[0])]
    s.reorder(*own, *others)
    block, inner = s.split(s.fuse(*own) if len(own) > 1 else own[0], [None, shape.rows])
    for each in reversed(before):
        s.compute_at(each.rv, inner, preserve_unit_loops=True)
        kinds = block_of(s, each.rv).kinds
        loops = s.get_loops(each.rv)[-len(kinds):]
        across(s, [loop for loop, kind in zip(loops, kinds, strict=True) if kind == "R"], term, shape.terms)
    # Bound behind that: moved into a loop over threads, a block would compute what all of these need.
    s.bind(block, BLOCKS)
    s.bind(inner, row)
    for each in before:
        for index in range(len(each.stores)):
            s.set_scope(each.rv, index, "local")
    across(s, others, term, shape.terms)
    return s


def across(s: Schedule, loops: Sequence[LoopRV], axis: str, threads: int) -> None:
    """Share loops among so many threads along an axis."""
    fused = s.fuse(*loops) if len(loops) > 1 else loops[0]
    _, thread = s.split(fused, [None, threads])
    s.bind(thread, axis)
