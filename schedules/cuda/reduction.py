"""Reductions: pooling, averages, norms, softmax, and whatever no other rule takes.

Each block becomes a kernel. Where results are many, each thread has one, or four neighbouring ones, and adds up by itself. Where they are
few and long, the threads of a warp or of a block share one, and their parts are added up across them.
"""
from __future__ import annotations

from math import prod

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from ...targets import GpuTarget
from ..tir.analysis import Block, blocks_of
from ..tir.tidy import tidied
from .common import BLOCKS, THREADS, THREADS_X, THREADS_Y, VECTOR, bind_threads, schedule_spatial

WARP = 32
FEWEST_THREADS = 2048  # of an SM's worth of threads, times a fraction of the SMs: with fewer results, threads share them
SHORT = 64  # terms: with fewer, a result is not shared


def schedule_reductions(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Rule for every function of loop nests around blocks."""
    s = tidied(func)
    if s is None:
        return None
    for block in blocks_of(s):
        if set(block.kinds) <= {"S"} or not block.plain or not set(block.kinds) <= {"S", "R"} or len(block.stores) != 1:
            schedule_spatial(s, block.rv)
        else:
            _schedule_reduction(s, block, target)
    return s


def _schedule_reduction(s: Schedule, block: Block, target: GpuTarget) -> None:
    loops = dict(enumerate(s.get_loops(block.rv)))
    spatial = [loops[i] for i, kind in enumerate(block.kinds) if kind == "S"]
    reduced = [loops[i] for i, kind in enumerate(block.kinds) if kind == "R"]
    results, terms = prod(block.sizes("S")), prod(block.sizes("R"))
    s.reorder(*spatial, *reduced)
    if terms < SHORT or results >= target.model.sms * FEWEST_THREADS // 8:
        _by_thread(s, block, spatial, reduced)
    elif block.contiguous_reduced or not spatial:
        _by_row(s, spatial or [s.add_unit_loop(block.rv)], reduced, min(THREADS, max(WARP, terms // VECTOR // WARP * WARP)))
    else:
        _by_column(s, spatial, reduced, terms)


def _by_thread(s: Schedule, block: Block, spatial: list[LoopRV], reduced: list[LoopRV]) -> None:
    """A thread for each result, or for four neighbouring channels."""
    if not spatial:
        spatial = [s.add_unit_loop(block.rv)]
        s.reorder(*spatial, *reduced)
    lanes = None
    if block.vector_axis is not None and block.extents[block.vector_axis] % VECTOR == 0:
        *outer, inner = spatial
        inner, lanes = s.split(inner, [None, VECTOR])
        spatial = [*outer, inner]
        s.reorder(*spatial, *reduced, lanes)
    out = s.cache_write(block.rv, 0, "local")
    thread = bind_threads(s, s.fuse(*spatial) if len(spatial) > 1 else spatial[0])
    s.reverse_compute_at(out, thread)
    first = reduced[0]
    if lanes is not None:
        s.vectorize(lanes)
        s.vectorize(s.get_loops(out)[-1])
        init = s.decompose_reduction(block.rv, first)
        s.vectorize(s.get_loops(init)[-1])
    else:
        s.decompose_reduction(block.rv, first)


def _by_row(s: Schedule, spatial: list[LoopRV], reduced: list[LoopRV], threads: int) -> None:
    """The threads of a block share the terms of each result, neighbours next to each other."""
    row = s.fuse(*spatial) if len(spatial) > 1 else spatial[0]
    term = s.fuse(*reduced) if len(reduced) > 1 else reduced[0]
    _, thread = s.split(term, [None, threads])
    s.bind(row, BLOCKS)
    s.bind(thread, THREADS_X)


def _by_column(s: Schedule, spatial: list[LoopRV], reduced: list[LoopRV], terms: int) -> None:
    """Neighbouring results in neighbouring threads, and several threads share the terms of each."""
    column = s.fuse(*spatial) if len(spatial) > 1 else spatial[0]
    term = s.fuse(*reduced) if len(reduced) > 1 else reduced[0]
    block, x = s.split(column, [None, WARP])
    _, y = s.split(term, [None, min(THREADS // WARP, terms)])
    s.bind(block, BLOCKS)
    s.bind(x, THREADS_X)
    s.bind(y, THREADS_Y)
