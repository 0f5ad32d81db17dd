"""Schedule of a product of matrices.

    block (rows of the result, filters, group, split)
        step of the terms                                   pipelined: later steps are copied while this one is multiplied
            patches and weights of the step -> shared memory
            four terms at a time
                a thread's rows and filters -> registers
                unrolled products
        the epilogue, fused into the store
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ....targets import GpuTarget
from ...tir.analysis import find_annotated
from ...tir.epilogue import inline_epilogue
from ...tir.loop_nests import simplify_indices, with_body
from ..common import BLOCKS, THREADS_X, VECTOR, schedule_spatial
from .compute import ANNOTATION, COLUMNS, SPREAD, TOGETHER, ravel
from .tensor_tile import TensorTile
from .tile import PADDING, GemmTile

SHARED = "shared.dyn"  # more than 48 KiB are only to be had so
VECTOR_BYTES = 16


def schedule_gemm(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Schedule a function around a product of matrices, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    gemm = find_annotated(s, ANNOTATION)
    if gemm is None:
        return None
    tile = GemmTile(*(int(value) for value in s.get(gemm).annotations[ANNOTATION]))
    across = tile.filters // tile.thread_filters * VECTOR if int(s.get(gemm).annotations[SPREAD]) else None
    return schedule_around(s, gemm, tile, lambda s, gemm: _schedule_product(s, gemm, tile, target.model.async_copies, across), across)


def schedule_around(
    s: Schedule, gemm: SBlockRV, tile: GemmTile | TensorTile, schedule_product: Callable[[Schedule, SBlockRV], LoopRV],
    across: int | None = None
) -> Schedule:
    """Schedule a function around a product, which a callable cuts into blocks and threads; it returns the loop over the threads.

    `across` is how far a thread's vectors of filters lie apart, where they do.
    """
    # 1. One block after the products: the sum of the parts, bias, activation, residual.
    out = inline_epilogue(s, gemm, keep=(COLUMNS,))
    blocks = s.get_child_blocks(s.get_sblock("root"))
    behind = blocks[[s.get(block).name_hint for block in blocks].index(s.get(out).name_hint) + 1 :]
    vector = min(VECTOR, tile.thread_filters)
    # 2. The product. Without splits the epilogue stores what a thread has added up; with them it is a kernel of its own.
    if tile.splits == 1:
        s.set_scope(gemm, 0, "local")
        vector = _by_vectors(s, out, vector, tile.filters, across)
        if across:
            s, gemm, out, *behind = _spread(s, gemm, tile.filters, across, out, *behind)
        _store_by_thread(s, out, schedule_product(s, gemm), vector)
    else:
        parts = s.cache_write(gemm, 0, "local")
        s.reverse_compute_at(parts, schedule_product(s, gemm), preserve_unit_loops=True)
        s.vectorize(_split_last(s, parts, vector))
        for loop in s.get_loops(parts)[-3:-1]:
            s.unroll(loop)
        schedule_spatial(s, out)
    # 3. Element-wise blocks behind the epilogue, which have another shape.
    for block in behind:
        schedule_spatial(s, block)
    return _stored_once(s, out, tile) if tile.splits == 1 and isinstance(tile, GemmTile) else s


def _stored_once(s: Schedule, out: SBlockRV, tile: GemmTile) -> Schedule:
    """Let only those threads store that have a result, where the result is a single row or column: its axes then say nothing of threads."""
    *rows, filters = (int(axis.dom.extent) for axis in s.get(out).iter_vars)
    across = tile.filters // tile.thread_filters
    name, single_row, single_filter = s.get(out).name_hint, rows[0] == 1, rows[1] * filters == 1

    def guarded(loop: tirx.For) -> tirx.For:
        if loop.thread_binding is None or str(loop.thread_binding.thread_tag) != THREADS_X:
            return loop
        first = [loop.loop_var // across == 0] if single_row else []
        first += [loop.loop_var % across == 0] if single_filter else []

        def realized(realize: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
            if realize.block.name_hint != name:
                return realize
            return s_tir.SBlockRealize(realize.iter_values, tirx.all(realize.predicate, *first), realize.block)

        return with_body(loop, tvm_ffi.structural_map(loop.body, (s_tir.SBlockRealize, realized), order="post"))

    if not single_row and not single_filter:
        return s
    func = s.mod["main"]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, guarded), order="post")))


def _schedule_product(s: Schedule, gemm: SBlockRV, tile: GemmTile, async_copies: bool, across: int | None) -> LoopRV:
    """Cut the loops of a product into blocks, threads and steps; the loop over the threads."""
    if across:
        *lead, group, row, block_filter, own_vector, thread_filter, own_filter, term = s.get_loops(gemm)
        own = [own_vector, own_filter]
    else:
        *lead, group, row, filter_, term = s.get_loops(gemm)
        block_filter, thread_filter, own_filter = s.split(filter_, [None, tile.filters // tile.thread_filters, tile.thread_filters])
        own = [own_filter]
    block_row, thread_row, own_row = s.split(row, [None, tile.rows // tile.thread_rows, tile.thread_rows])
    step, inner = s.split(term, [None, tile.depth])
    few, one = s.split(inner, [None, VECTOR])
    s.reorder(*lead, group, block_filter, block_row, thread_row, thread_filter, step, few, one, own_row, *own)
    s.bind(block_row, BLOCKS)
    s.bind(s.fuse(*lead, group, block_filter), "blockIdx.y")
    thread = s.fuse(thread_row, thread_filter)
    s.bind(thread, THREADS_X)
    # Operands: shared memory, then registers.
    columns = s.get_producers(gemm)[0]
    s.set_scope(columns, 0, SHARED)
    s.compute_at(columns, step)
    weights = s.cache_read(gemm, 1, SHARED)
    s.compute_at(weights, step)
    copy_by_threads(s, columns, step, tile.threads)
    copy_by_threads(s, weights, step, tile.threads)
    s.storage_align(columns, 0, axis=1, factor=tile.depth, offset=PADDING)
    rows = s.cache_read(gemm, 0, "local")
    s.compute_at(rows, few)
    s.vectorize(_split_last(s, rows, VECTOR))
    row_filters = s.cache_read(gemm, 1, "local")
    s.compute_at(row_filters, one)
    s.vectorize(_split_last(s, row_filters, VECTOR))
    for loop in (few, one, own_row, *own):
        s.unroll(loop)
    s.decompose_reduction(gemm, step)
    pipeline(s, step, tile.stages, async_copies)
    return thread


def pipeline(s: Schedule, step: LoopRV, stages: int, async_copies: bool) -> None:
    """Copy the operands of later steps, two blocks, while one is multiplied: to shared memory past the registers, where the GPU can."""
    s.annotate(step, "software_pipeline_stage", [0, 0, stages - 1])
    s.annotate(step, "software_pipeline_order", [0, 1, 2])
    if async_copies:
        s.annotate(step, "software_pipeline_async_stages", [0])


def copy_by_threads(s: Schedule, block: SBlockRV, step: LoopRV, threads: int) -> None:
    """Copy a step of an operand: neighbouring threads copy neighbouring vectors."""
    copied = s.get(block)
    whole = VECTOR_BYTES * 8 // int(copied.writes[0].source.dtype.bits)
    vector = int(copied.annotations[TOGETHER]) if copied.name_hint == COLUMNS else whole
    loops = s.get_loops(block)
    inner = next(i for i, loop in enumerate(loops) if s.get(loop).same_as(s.get(step))) + 1
    _, thread, lanes = s.split(s.fuse(*loops[inner:]), [None, threads, vector])
    s.bind(thread, THREADS_X)
    if vector > 1:
        s.vectorize(lanes)


def _split_last(s: Schedule, block: SBlockRV, length: int) -> LoopRV:
    """Split the innermost loop of a block; the inner part."""
    return s.split(s.get_loops(block)[-1], [None, length])[1]


def _apart(filter_: ir.Expr, filters: int, across: int) -> tuple[ir.Expr, ...]:
    """A filter as its block, the vector of a thread, the thread, and the place in the vector."""
    return filter_ // filters, filter_ % filters // across, filter_ % across // VECTOR, filter_ % VECTOR


def _spread(s: Schedule, gemm: SBlockRV, filters: int, across: int, *others: SBlockRV) -> tuple[Any, ...]:
    """Give a product axes for a thread's vectors of filters and what they have, so that a thread has a part of each axis.

    The schedule is then another one: it is returned, with the product and the other blocks.
    """
    dtype = str(s.get(gemm).iter_vars[0].var.ty.dtype)
    axes = tirx.IndexMap.from_func(lambda *index: (*index[:-2], *_apart(index[-2], filters, across), index[-1]), ndim=5, index_dtype=dtype)
    s.transform_block_layout(gemm, axes)
    s.transform_layout(gemm, ("write", 0), lambda *index: (*index[:-1], *_apart(index[-1], filters, across)))
    names = [s.get(block).name_hint for block in (gemm, *others)]
    s = Schedule(simplify_indices(s.mod["main"]))
    return s, *map(s.get_sblock, names)


def _by_vectors(s: Schedule, out: SBlockRV, most: int, filters: int, across: int | None) -> int:
    """Let the epilogue go along rows, vectors of at most so many filters, and what these have; how many they have."""
    shape = [int(axis.dom.extent) for axis in s.get(out).iter_vars]
    vector = most if shape[-1] % most == 0 else 1

    def flat(*index: ir.Expr) -> tuple[ir.Expr, ...]:
        last = _apart(index[-1], filters, across) if across else (index[-1] // vector, index[-1] % vector)
        return (ravel(index[:-1], shape[:-1]), *last)

    dtype = str(s.get(out).iter_vars[0].var.ty.dtype)
    s.transform_block_layout(out, tirx.IndexMap.from_func(flat, ndim=len(shape), index_dtype=dtype))
    return vector


def _store_by_thread(s: Schedule, out: SBlockRV, thread: LoopRV, vector: int) -> None:
    """Put the epilogue behind a thread's sums; it stores vectors of so many."""
    axes = len(s.get(out).iter_vars)
    s.reverse_compute_at(out, thread, preserve_unit_loops=True)
    *rows, lanes = s.get_loops(out)[-axes:]
    for loop in rows:
        s.unroll(loop)
    if vector > 1:
        s.vectorize(lanes)
