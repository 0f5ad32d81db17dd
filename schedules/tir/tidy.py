"""A function made tidy before it is scheduled: no dead blocks, one result a block, cheap blocks inlined."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from .analysis import Block, block_of, blocks_of, outputs
from .loop_nests import drop_dead_blocks, has_nests, separate_results, simplify_indices

MOST_CYCLES_AGAIN = 0.6   # of arithmetic in one run: recomputing costs less than a round trip through memory
FEWEST_READS_PADDED = 16  # of an element by a reduction, from which on its padding is better done once
MOST_OPERATIONS = 600     # of one block: beyond, inlining makes code that takes seconds to compile


def tidied(func: tirx.PrimFunc) -> Schedule | None:
    """A schedule of the function with dead blocks dropped, results separated, cheap blocks inlined and indices simplified.

    None if the function is not loop nests of one block each.
    """
    tidy = _tidy(func)
    return None if tidy is None else Schedule(tidy)


@lru_cache(maxsize=8)  # the rules that are tried one after another all ask for it
def _tidy(func: tirx.PrimFunc) -> tirx.PrimFunc | None:
    if not has_nests(func):
        return None
    s = Schedule(separate_results(drop_dead_blocks(func)))
    inline_spatial(s)
    return simplify_indices(s.mod["main"])


def inline_spatial(s: Schedule) -> None:
    """Inline every element-wise block into its readers, unless that would compute something expensive many times over.

    Kept as they are: results of the function; blocks of which one run is dear (exp, ...) and which are read more often than they
    have elements (a gate of a channel times a whole image; exp in a softmax); and padding that a reduction reads many times, or
    not in whole vectors.
    """
    results = outputs(s.mod["main"])
    blocks = blocks_of(s)
    tried = 0
    while tried < len(blocks):
        block = blocks[tried]
        readers = [b for b in blocks if any(a.buffer.same_as(st.buffer) for a in b.loads for st in block.stores)]
        if _inlinable(block, readers, results):
            try:
                s.compute_inline(block.rv)
                blocks = [block_of(s, b.rv) if b in readers else b for b in blocks if b is not block]
                continue
            except ScheduleError:
                pass
        tried += 1


def _inlinable(block: Block, readers: Sequence[Block], results: Sequence[tirx.Buffer]) -> bool:
    if block.is_reduction or not block.plain or len(block.stores) != 1 or any(block.stores[0].buffer.same_as(r) for r in results):
        return False
    if not readers or not all(r.plain and r.operations + block.operations <= MOST_OPERATIONS for r in readers):
        return False
    if block.branches and any(_pads_too_often(block, r) for r in readers if r.is_reduction):
        return False
    copies = sum(ld.buffer.same_as(block.stores[0].buffer) for r in readers for ld in r.loads)
    runs = sum(r.points for r in readers) / block.points
    return copies == 1 >= runs or (block.compute_cycles <= MOST_CYCLES_AGAIN and not block.names)


def _pads_too_often(padding: Block, reader: Block) -> bool:
    """Whether a reduction would test for padding within its vectors, or many times for an element."""
    lane_wise = len(padding.extents) - 1 in padding.branch_axes
    return lane_wise or reader.vector_axis is None or reader.points >= FEWEST_READS_PADDED * padding.points
