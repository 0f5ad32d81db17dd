"""The loop nest of a Winograd convolution.

    parallel task (tiles; where `shared` also a group of blocks of output channels)
        tile, vector of input channels                                  not where `shared`: there it is a nest of its own, before
            unrolled: inputs of a column, B^T d;  B^T d B               tests for padding here, no padded copy
        group of blocks of output channels
            position in the tile, block
                register tile of tiles
                    input channel                                       next block of weights prefetched
                        unrolled tiles x vectors, vectorised lanes      accumulators in registers
            tile, vector of output channels
                unrolled: A^T p;  A^T p A, pooling, epilogue, stores    pixels beyond the image dropped
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ....targets import CpuTarget
from ...tir.analysis import find_annotated
from ...tir.epilogue import inline_epilogue
from ...winograd_algebra import BY_OUTPUTS
from ..common import STACK_BYTES, extent_of
from ..conv2d.prefetch import prefetch_rows, share_of
from .compute import ANNOTATION
from .cost import Blocking
from .store_by_tiles import store_by_tiles

STAGES = ("patch", "lateral", "transformed", "winograd", "products", "partial")
INPUT_VECTORS = 2       # of channels, transformed at once: halves the tests for padding, and fills a cache line of AVX2's
SPARE_VECTORS = 1       # likewise on NEON: of two, 172 of 849 instructions of an A72's loop go to the stack, of one 32 of 388


def schedule_winograd(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Schedule a function around `winograd`, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    acc = find_annotated(s, ANNOTATION)
    if acc is None:
        return None
    outputs, pixels, vectors, tiles, blocks, shared, parallel, pooled, *dilation = (int(v) for v in s.get(acc).annotations[ANNOTATION])
    blocking = Blocking(outputs, pixels, vectors, tiles, blocks, bool(shared), bool(parallel))
    weight = s.get(acc).reads[1].source.name
    again = int(s.get(acc).reads[0].source.shape[-1]) > int(s.get(acc).iter_vars[-1].dom.extent)  # the last vector repeats channels
    out = s.get(inline_epilogue(s, s.get_sblock("partial"), keep=STAGES)).name_hint
    tile = blocking.outputs // pooled, target.lanes
    s = Schedule(store_by_tiles(s.mod["main"], out, "partial", tile, (dilation[0], dilation[1])))
    # 1. Tasks, and the transform back to what is stored.
    task, group = _schedule_output(s, s.get_sblock(out), blocking, target.lanes)
    if blocking.parallel:
        s.parallel(task)
    # 2. The matrix products of a group.
    channel, passes = _schedule_products(s, s.get_sblock("winograd"), group, blocking, target)
    # 3. The transform of the inputs: of a task, or of all.
    _schedule_input(s, None if blocking.shared else task, blocking.parallel, again, target)
    return prefetch_rows(s, channel, weight, [passes], target.model.line_bytes)


def _schedule_output(s: Schedule, out: SBlockRV, blocking: Blocking, lanes: int) -> tuple[LoopRV, LoopRV]:
    """Schedule the output; return the loops over tasks, and over groups of blocks within one."""
    tile, y, x, f = s.get_loops(out)
    group, vector, lane = s.split(f, [None, blocking.blocks * blocking.vectors, lanes])
    task, tile = s.split(tile, [None, blocking.tiles])
    if blocking.shared:
        s.reorder(group, task, tile, vector, y, x, lane)
        task = group = s.fuse(group, task)
    else:
        s.reorder(task, group, tile, vector, y, x, lane)
    _unroll(s, y, x, lane)
    partial = s.get_sblock("partial")
    _apart(s, partial, blocking.outputs * BY_OUTPUTS[blocking.outputs].products * lanes)
    s.compute_at(partial, vector, preserve_unit_loops=True)
    _unroll(s, *s.get_loops(partial)[-3:])
    return task, group


def _schedule_products(s: Schedule, acc: SBlockRV, group: LoopRV, blocking: Blocking, target: CpuTarget) -> tuple[LoopRV, LoopRV]:
    """Schedule the matrix products; return the loops over steps of input channels, and over register tiles."""
    lanes = target.lanes
    products = s.get_sblock("products")
    s.compute_at(products, group, preserve_unit_loops=True)
    block, i, j, tile, channel = s.get_loops(products)[-5:]
    tile, pixel = s.split(tile, [None, blocking.pixels])
    vector, lane = s.split(channel, [None, lanes])
    s.reorder(i, j, block, tile, pixel, vector, lane)
    _unroll(s, pixel, vector, lane)
    _odd_lines(s, products, 2, target)
    s.compute_at(acc, tile, preserve_unit_loops=True)
    pixel, channel, ci = s.get_loops(acc)[-3:]
    # As many passes over the weights as there are register tiles: each asks for its share of the next weights.
    ci, step = s.split(ci, [None, share_of(extent_of(s, tile), extent_of(s, ci))])
    vector, lane = s.split(channel, [None, lanes])
    s.reorder(ci, step, pixel, vector, lane)
    _unroll(s, pixel, vector, lane)
    s.decompose_reduction(acc, ci)
    return ci, tile


def _schedule_input(s: Schedule, task: LoopRV | None, parallel: bool, again: bool, target: CpuTarget) -> None:
    """Schedule the transform of the inputs: within a task, or, without one, in a nest of its own; of single vectors where `again`."""
    lanes = target.lanes
    patch, lateral, transformed = (s.get_sblock(name) for name in STAGES[:3])
    if task is not None:
        s.compute_at(transformed, task, preserve_unit_loops=True)
    i, j, tile, channel = s.get_loops(transformed)[-4:]
    channels = extent_of(s, channel)
    vectors = SPARE_VECTORS if target.model.lane_operand or again else INPUT_VECTORS
    width = max(d for d in range(1, vectors * lanes + 1) if channels % d == 0)
    channel, lane = s.split(channel, [None, width])
    _apart(s, lateral, extent_of(s, i) * extent_of(s, j) * width)
    s.reorder(tile, channel, i, j, lane)
    _unroll(s, i, j, lane)
    _odd_lines(s, transformed, 1, target)
    if task is None and parallel:
        s.parallel(tile)
    s.compute_at(lateral, channel, preserve_unit_loops=True)
    i, j, lane = s.get_loops(lateral)[-3:]
    s.reorder(j, i, lane)
    _unroll(s, j, i, lane)
    s.compute_at(patch, j, preserve_unit_loops=True)
    i, _, lane = s.get_loops(patch)[-3:]
    _unroll(s, i, lane)


def _odd_lines(s: Schedule, block: SBlockRV, axis: int, target: CpuTarget) -> None:
    """Let what neighbours along an axis have lie an odd number of cache lines apart: they don't share sets then."""
    line = target.model.line_bytes // 4
    s.storage_align(block, 0, axis, 2 * line, line)


def _apart(s: Schedule, block: SBlockRV, floats: int) -> None:
    """Put a buffer that is too large for the stack in a scope of its own, or TVM would reuse its memory for the accumulators."""
    if 4 * floats >= STACK_BYTES:
        s.set_scope(block, 0, "local")


def _unroll(s: Schedule, *loops: LoopRV) -> None:
    """Unroll all loops but the last, and make the last one a vector."""
    for loop in loops[:-1]:
        s.unroll(loop)
    s.vectorize(loops[-1])
