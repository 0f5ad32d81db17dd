"""The rule for whatever no other takes: each block gets its own loop nest, and a reduction to few results is split into tasks."""
from __future__ import annotations

from math import prod

from tvm import tirx
from tvm.s_tir import Schedule

from ...targets import CpuTarget
from ..tir.analysis import Block, blocks_of
from ..tir.split_reduction import LANES, can_split, split_into_tasks
from ..tir.tidy import tidied
from .common import ON_STACK, TASKS_PER_CORE, parallel_outer, worth_sharing
from .injective.elementwise import schedule_spatial
from .reduction.columns import schedule_columns
from .reduction.rows import schedule_rows, with_lanes


def schedule_fallback(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for every function of loop nests around blocks."""
    s = tidied(func)
    if s is None:
        return None
    # 1. Reductions: a part for each task, an accumulator for each lane.
    s = Schedule(with_lanes(_with_tasks(s.mod["main"], target), target))
    # 2. Each block alone; the accumulators of lanes go with the reduction over them.
    lanes: list[Block] = []
    for block in blocks_of(s):
        if block.name.endswith(LANES):
            lanes.append(block)
        elif block.is_reduction and block.plain and set(block.kinds) <= {"S", "R"}:
            _schedule_reduction(s, lanes, block, target)
            lanes = []
        elif set(block.kinds) <= {"S"}:
            schedule_spatial(s, block.rv, target)
        else:
            spatial = block.kinds.index(next(k for k in block.kinds if k != "S"))
            parallel_outer(s, s.get_loops(block.rv)[:spatial], block.work_cycles(target.model), target)
    return s


def _with_tasks(func: tirx.PrimFunc, target: CpuTarget) -> tirx.PrimFunc:
    """Split reductions that have work for all cores but fewer results than cores, or than cache lines of results for each core."""
    for block in blocks_of(Schedule(func)):
        tasks = prod(block.sizes("S"))
        if block.vector_axis is not None:
            tasks //= min(tasks, target.model.line_bytes // 4)
        length = prod(block.sizes("R"))
        parts = min(TASKS_PER_CORE * target.cores, length)
        twice = worth_sharing(block.work_cycles(target.model) / 2, target)  # the parts and the sum of them are two loops
        if block.is_reduction and can_split(block.stmt) and tasks < target.cores and twice and parts > 1:
            func = split_into_tasks(func, block.name, [i for i, k in enumerate(block.kinds) if k == "R"], parts)
    return func


def _schedule_reduction(s: Schedule, lanes: list[Block], block: Block, target: CpuTarget) -> None:
    work = sum(b.work_cycles(target.model) for b in (*lanes, block))
    row_axes = [i for i, k in enumerate(block.kinds) if k == "S"]
    if lanes or block.vector_axis is None or len(block.stores) > 1:
        schedule_rows(s, block.rv, [b.rv for b in lanes], row_axes, work, target)
    else:
        out = s.cache_write(block.rv, 0, ON_STACK)
        schedule_columns(s, out, [block.rv], row_axes, work, target)
