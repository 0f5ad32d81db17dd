"""Schedule of a convolution that is added up where it lies.

    block, thread (image, row, tile of a row, filters)
        unrolled kernel rows, kernel columns, channels
            unrolled pixels, vectorised filters
        the epilogue, fused into the store
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from ....targets import GpuTarget
from ...tir.analysis import block_of, find_annotated
from ...tir.epilogue import inline_epilogue
from ..common import BLOCKS, THREADS_X, VECTOR, extent_of, schedule_spatial, threads_for
from .compute import ANNOTATION

MOST_UNROLLED = 64  # terms of a pixel that are written out


def schedule_direct(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Schedule a function around a direct convolution, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    direct = find_annotated(s, ANNOTATION)
    if direct is None:
        return None
    pixels, threads = (int(value) for value in s.get(direct).annotations[ANNOTATION])
    out = inline_epilogue(s, direct)
    blocks = s.get_child_blocks(s.get_sblock("root"))
    behind = blocks[[s.get(block).name_hint for block in blocks].index(s.get(out).name_hint) + 1 :]
    # 1. Threads: tiles of rows, and filters; neighbours have neighbouring filters.
    known = block_of(s, direct)
    filters = known.extents[3]
    steps = {known.stride(load, 3) for load in known.loads}
    lanes = VECTOR if filters % VECTOR == 0 and steps <= {0, 1} else 1
    n, y, x, f, ky, kx, ci = s.get_loops(direct)
    x, pixel = s.split(x, [None, pixels])
    f, lane = s.split(f, [None, lanes])
    s.reorder(n, y, x, f, ky, kx, ci, pixel, lane)
    tiles = s.fuse(n, y, x, f)
    block, thread = s.split(tiles, [None, threads_for(extent_of(s, tiles), threads)])
    s.bind(block, BLOCKS)
    s.bind(thread, THREADS_X)
    # 2. A thread's sums stay in registers.
    s.set_scope(direct, 0, "local")
    s.reverse_compute_at(out, thread, preserve_unit_loops=True)
    *_, out_lane = s.get_loops(out)
    s.unroll(pixel)
    if extent_of(s, ky) * extent_of(s, kx) * extent_of(s, ci) <= MOST_UNROLLED:
        for loop in (ky, kx, ci):
            s.unroll(loop)
    if lanes > 1:
        s.vectorize(lane)
        s.vectorize(out_lane)
    init = s.decompose_reduction(direct, ky)
    if lanes > 1:
        s.vectorize(s.get_loops(init)[-1])
    # 3. Element-wise blocks behind the epilogue, which have another shape.
    for each in behind:
        schedule_spatial(s, each)
    return s
