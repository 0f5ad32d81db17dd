"""Reductions: pooling, averages, norms, softmax, and whatever no other rule takes.

Reductions over the same rows, and what is computed from them, are one kernel (`rows.py`). Of other functions each block becomes one. Where
results are many, each thread has one, or four neighbouring ones, and adds up by itself. Where they are few and long, the threads of a warp
or of a block share one, and their parts are added up across them.
"""
from __future__ import annotations

from math import prod

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from ...targets import GpuTarget
from ..tir.analysis import Block, blocks_of
from ..tir.loop_nests import changed, stores_in
from ..tir.tidy import tidied
from .common import BLOCKS, THREADS, THREADS_X, THREADS_Y, VECTOR, bind_threads, schedule_spatial
from .rows import SHARING, across, crosses, schedule_rows

WARP = 32
FEWEST_THREADS = 2048  # of an SM's worth of threads, times a fraction of the SMs: with fewer results, threads share them
SHORT = 64  # terms: with fewer, a result is not shared


def schedule_reductions(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Rule for every function of loop nests around blocks."""
    tidy = tidied(func)
    if tidy is None:
        return None
    s = Schedule(adding_to_own(tidy.mod["main"]))
    if (rows := schedule_rows(s, target)) is not None:
        return rows
    for block in blocks_of(s):
        if not block.plain or set(block.kinds) != {"S", "R"} and set(block.kinds) != {"R"}:
            schedule_spatial(s, block.rv)
        else:
            _schedule_reduction(s, block, target)
    return s


def adding_to_own(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Let each reduction read its result at the indices where it stores it, as TVM expects: simplified, a zero may stand for an axis.

    y[v] = y[0] + x[v, k]    ->    y[v] = y[v] + x[v, k]
    """
    def visit(block: s_tir.SBlock) -> s_tir.SBlock:
        if block.init is None:
            return block
        stores = {store.buffer: list(store.indices) for store in stores_in(block.body)}
        body = tvm_ffi.structural_map(block.body, (ir.TensorLoad, lambda load: _own(load, stores)), order="post")
        return changed(block, body=body)

    return func.with_body(tvm_ffi.structural_map(func.body, (s_tir.SBlock, visit), order="post"))


def _own(load: ir.TensorLoad, stores: dict[tirx.Buffer, list[ir.Expr]]) -> ir.TensorLoad:
    own = next((indices for buffer, indices in stores.items() if load.source.same_as(buffer)), None)
    return load if own is None else tirx.BufferLoad(load.source, own)


def _schedule_reduction(s: Schedule, block: Block, target: GpuTarget) -> None:
    loops = dict(enumerate(s.get_loops(block.rv)))
    spatial = [loops[i] for i, kind in enumerate(block.kinds) if kind == "S"]
    reduced = [loops[i] for i, kind in enumerate(block.kinds) if kind == "R"]
    results, terms = prod(block.sizes("S")), prod(block.sizes("R"))
    single = len(block.stores) == 1
    shared = crosses(s, block)
    s.reorder(*spatial, *reduced)
    if not single and not shared:
        schedule_spatial(s, block.rv)
    elif single and (not shared or terms < SHORT or results >= target.model.sms * FEWEST_THREADS // 8):
        _by_thread(s, block, spatial, reduced)
    elif block.contiguous_reduced or not spatial or not single:
        _by_row(s, spatial or [s.add_unit_loop(block.rv)], reduced, min(THREADS, max(WARP, terms // VECTOR // WARP * WARP)))
    else:
        _by_column(s, block, spatial, reduced)


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
    s.reorder(row, term)
    _, thread = s.split(term, [None, threads])
    s.bind(row, BLOCKS)
    s.bind(thread, THREADS_X)


def _by_column(s: Schedule, block: Block, spatial: list[LoopRV], reduced: list[LoopRV]) -> None:
    """Neighbouring results in neighbouring threads, and several threads share the terms of each."""
    # TVM stores what threads have added up for every thread along x, those behind the last result too: another block stores it.
    out = s.cache_write(block.rv, 0, "local") if prod(block.sizes("S")) % WARP else None
    column = s.fuse(*spatial) if len(spatial) > 1 else spatial[0]
    term = s.fuse(*reduced) if len(reduced) > 1 else reduced[0]
    warp, x = s.split(column, [None, WARP])
    _, y = s.split(term, [None, SHARING])
    if out is not None:
        s.reverse_compute_at(out, x)
        across(s, [s.add_unit_loop(out)], THREADS_Y, SHARING)
    s.bind(warp, BLOCKS)
    s.bind(x, THREADS_X)
    s.bind(y, THREADS_Y)
