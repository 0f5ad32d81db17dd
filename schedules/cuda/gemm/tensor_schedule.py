"""Schedule of a product of matrices on tensor cores.

    block (rows of the result, filters, group, split)
        warps, and the lanes of each
            step of the terms                               pipelined, as in `schedule.py`
                patches and weights of the step -> shared memory
                sixteen terms at a time, unrolled
                    the warp's rows, eight at a time, and its filters, sixteen: a matrix instruction, or two
        the epilogue, fused into the store: of a lane's rows and filters, which lie side by side
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ....targets import GpuTarget
from ...tir.analysis import find_annotated
from ..common import BLOCKS, THREADS_X
from .compute import PRECISION, TENSOR
from .fragments import intrinsic
from .schedule import SHARED, copy_by_threads, pipeline, schedule_around
from .tensor_tile import FILTERS_OF_WARP, ROWS_OF_WARP, TERMS, TensorTile

INSTRUCTION = 5  # loops of what a lane has of an instruction: rows, filters, three of terms; one more of bytes


def schedule_tensor(func: tirx.PrimFunc, target: GpuTarget, tensorize: bool = True) -> Schedule | None:
    """Schedule a function around a product on tensor cores, with any element-wise epilogue; None for every other function.

    Without `tensorize` each lane computes the same results by itself.
    """
    s = Schedule(func)
    gemm = find_annotated(s, TENSOR)
    if gemm is None:
        return None
    annotations = s.get(gemm).annotations
    rows, filters, depth, warp_rows, warp_filters, splits, stages = (int(value) for value in annotations[TENSOR])
    tile = TensorTile(rows, filters, depth, warp_rows, warp_filters, splits, stages, str(annotations[PRECISION]))
    schedule_around(s, gemm, tile, lambda s, gemm: _schedule_product(s, gemm, tile, target.model.async_copies))
    if tensorize:
        two_rows, _two_filters, *_terms = s.get_loops(gemm)[-INSTRUCTION - (tile.word_terms > 1):]
        s.tensorize(two_rows, intrinsic(tile.precision, tile.thread_rows))
    return s


def _schedule_product(s: Schedule, gemm: SBlockRV, tile: TensorTile, async_copies: bool) -> LoopRV:
    """Cut the loops of a product into blocks, warps, lanes and steps; the loop over the threads."""
    loops = s.get_loops(gemm)
    *lead, group, row, filter_ = loops[:4]
    time, *terms = loops[4:]
    rows = s.split(row, [None, tile.rows // tile.warp_rows, ROWS_OF_WARP, tile.thread_rows // 2, 2])
    filters = s.split(filter_, [None, tile.filters // tile.warp_filters, FILTERS_OF_WARP, tile.thread_filters // 2, 2])
    block_row, warp_row, lane_row, pairs_of_rows, two_rows = rows
    block_filter, warp_filter, lane_filter, pairs_of_filters, two_filters = filters
    step, once = s.split(time, [None, tile.depth // TERMS])
    s.reorder(*lead, group, block_filter, block_row, warp_row, warp_filter, lane_filter, lane_row, step, once,
              pairs_of_rows, pairs_of_filters, two_rows, two_filters, *terms)
    s.bind(block_row, BLOCKS)
    s.bind(s.fuse(*lead, group, block_filter), "blockIdx.y")
    thread = s.fuse(warp_row, warp_filter, lane_filter, lane_row)
    s.bind(thread, THREADS_X)
    columns = s.get_producers(gemm)[0]
    s.set_scope(columns, 0, SHARED)
    s.compute_at(columns, step)
    weights = s.cache_read(gemm, 0, SHARED)
    s.compute_at(weights, step)
    copy_by_threads(s, columns, step, tile.threads)
    copy_by_threads(s, weights, step, tile.threads)
    if tile.row_padding:
        padding = tile.row_padding * tile.word_terms
        s.storage_align(columns, 0, axis=1, factor=2 * padding, offset=padding)
    for loop in (once, pairs_of_rows, pairs_of_filters):
        s.unroll(loop)
    s.decompose_reduction(gemm, step)
    pipeline(s, step, tile.stages, async_copies)
    return thread
