"""Steps that schedule rules share: tidy a function, inline what is cheap, pick a vector tile, make a loop parallel."""
from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import tvm
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ...targets import CpuTarget
from ..tir.analysis import Block, mentions

_realize = tvm.get_global_func("s_tir.schedule.GetSBlockRealize")

FEWEST_LAUNCHES = 8       # that the work of a parallel loop has to take as long as: an estimate this coarse may be far too high
TASKS_PER_CORE = 4        # enough for the last task not to leave the other cores waiting long
ON_STACK = "global"       # scope of accumulators: of TVM's scopes, only here are small buffers on the stack, "local" ones on the heap
STACK_BYTES = 1024        # a buffer of fewer TVM keeps on the stack, whatever its indices: LLVM turns it into registers
LEAST_LANES_FILLED = 0.5  # share of the lanes of its vectors that a tile has to fill


def vector_tile(extent: int, lanes: int, most_vectors: int) -> int | None:
    """How many neighbouring elements to compute as vectors: a divisor of `extent` that fills its vectors; None if there is none.

    Whole vectors where possible, else the length that wastes fewest lanes: LLVM cuts a vector of 20 floats into two of eight and
    one of four. A divisor, never a remainder: TVM's compute_at silently drops the bounds check that a remainder needs.
    """
    def used(d: int) -> float:
        return d / (ceil(d / lanes) * lanes)

    divisors = [d for d in range(2, min(extent, most_vectors * lanes) + 1) if extent % d == 0 and used(d) >= LEAST_LANES_FILLED]
    return max(divisors, key=lambda d: (used(d), d), default=None)


def worth_sharing(work_cycles: float, target: CpuTarget) -> bool:
    """Whether work of so many cycles of a core, roughly estimated, is worth waking the other threads for."""
    return work_cycles >= FEWEST_LAUNCHES * target.model.launch_cycles


def parallel_outer(s: Schedule, loops: Sequence[LoopRV], work_cycles: float, target: CpuTarget) -> LoopRV | None:
    """Fuse as many outer loops as give every core enough tasks, and make them parallel if the work is worth it.

    for a, b, c: ...    ->    parallel ab: for c: ...

    Returns the last loop of the outermost ones, parallel or not: None without loops.
    """
    if not loops:
        return None
    extents = [extent_of(s, l) for l in loops]
    enough = TASKS_PER_CORE * target.cores
    count = next((i for i in range(1, len(loops) + 1) if prod(extents[:i]) >= enough), len(loops))
    if not worth_sharing(work_cycles, target) or target.cores < 2 or prod(extents[:count]) < 2:
        return loops[-1]
    fused = s.fuse(*loops[:count]) if count > 1 else loops[0]
    s.parallel(fused)
    return loops[-1] if count < len(loops) else fused


def extent_of(s: Schedule, loop: LoopRV) -> int:
    """Length of a loop."""
    return int(s.get(loop).extent)


def lanes_for(block: Block, target: CpuTarget) -> int:
    """Elements in a vector of the widest type that the block touches."""
    widest = max((int(a.buffer.dtype.bits) for a in (*block.loads, *block.stores)), default=32)
    return max(1, target.vector_bits // max(widest, 8))


def inner_loops(s: Schedule, block: SBlockRV, at: LoopRV | None) -> tuple[list[LoopRV], list[LoopRV]]:
    """The loops around a block within the loop `at` (all, if None): those over spatial axes, and those over reduction axes."""
    loops = s.get_loops(block)
    if at is not None:
        outermost = s.get(at).loop_var
        position = next(i for i, l in enumerate(loops) if s.get(l).loop_var.same_as(outermost))
        loops = loops[position + 1:]
    stmt = s.get(block)
    values = _realize(s, block).iter_values
    reduced = [value for v, value in zip(stmt.iter_vars, values, strict=True) if v.iter_type == tirx.IterVar.CommReduce]
    reduction = [l for l in loops if any(mentions(value, s.get(l).loop_var) for value in reduced)]
    return [l for l in loops if l not in reduction], reduction
