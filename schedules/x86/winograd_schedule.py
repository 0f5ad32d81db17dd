"""draft"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from ...targets import Target
from .conv2d import find_annotated
from ..common import extent_of
from .epilogue import inline_epilogue
from .prefetch import prefetch_rows
from .winograd import ANNOTATION
from .winograd_model import Blocking

STAGES = ("patch", "lateral", "transformed", "winograd", "products", "partial")


def schedule_winograd(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """Rule for functions around `winograd`, with any element-wise epilogue."""
    s = Schedule(func)
    acc = find_annotated(s, ANNOTATION)
    if acc is None:
        return None
    blocking = Blocking(*(int(v) for v in s.get(acc).annotations[ANNOTATION]))
    patch, lateral, transformed, products, partial = (s.get_sblock(n) for n in ("patch", "lateral", "transformed", "products", "partial"))
    m = blocking.outputs
    out = inline_epilogue(s, partial, keep=STAGES)
    # 1.
    n, y, x, f = s.get_loops(out)
    down, y = s.split(y, [None, m])
    across, x = s.split(x, [None, m])
    group, vector, lane = s.split(f, [None, blocking.blocks * blocking.vectors, target.lanes])
    s.reorder(n, down, across, group, vector, y, x, lane)
    tile = s.fuse(n, down, across)
    block, tile = s.split(tile, [None, blocking.tiles])
    s.reorder(block, group, tile, vector)
    s.unroll(x)
    s.unroll(y)
    s.vectorize(lane)
    if blocking.shared:
        s.reorder(group, block)
        task = s.fuse(group, block)
    else:
        task = block
    s.parallel(task)
    s.compute_at(partial, vector, preserve_unit_loops=True)
    _unroll_vectorise(s, partial, 2)
    # 2. products
    s.compute_at(products, task if blocking.shared else group, preserve_unit_loops=True)
    o, i, j, tile, v = s.get_loops(products)[-5:]
    tile, pixel = s.split(tile, [None, blocking.pixels])
    vector, lane = s.split(v, [None, target.lanes])
    s.reorder(i, j, o, tile, pixel, vector, lane)
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    s.compute_at(acc, tile, preserve_unit_loops=True)
    *_, pixel, v, ci = s.get_loops(acc)
    channels, passes = extent_of(s, ci), extent_of(s, tile)
    share = max(d for d in range(1, passes + 1) if channels % d == 0)
    ci, step = s.split(ci, [None, share])
    vector, lane = s.split(v, [None, target.lanes])
    s.reorder(ci, step, pixel, vector, lane)
    if share <= 16: s.unroll(step)
    hot, passes = ci, tile
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    s.decompose_reduction(acc, ci)
    # 3. input
    import os
    if os.environ.get("ALIGN","3") in "13":
        s.storage_align(transformed, 0, 1, 32, 16)
    if os.environ.get("ALIGN","3") in "23":
        s.storage_align(products, 0, 2, 32, 16)
    if not blocking.shared:
        s.compute_at(transformed, task, preserve_unit_loops=True)
    i, j, tile, c = s.get_loops(transformed)[-4:]
    lanes = next(d for d in range(min(2 * target.lanes, int(s.get(c).extent)), 0, -1) if int(s.get(c).extent) % d == 0)
    c, lane = s.split(c, [None, lanes])
    s.reorder(tile, c, i, j, lane)
    if blocking.shared:
        s.parallel(tile)
    s.unroll(i)
    s.unroll(j)
    s.vectorize(lane)
    s.compute_at(lateral, c, preserve_unit_loops=True)
    i, j, lane = s.get_loops(lateral)[-3:]
    s.reorder(j, i)
    s.unroll(j)
    s.unroll(i)
    s.vectorize(lane)
    s.compute_at(patch, j, preserve_unit_loops=True)
    i, j, lane = s.get_loops(patch)[-3:]
    s.unroll(i)
    s.vectorize(lane)
    if os.environ.get("PF","1") == "1":
        import tenfold.schedules.x86.prefetch as pf
        pf.LOCALITY = int(os.environ.get("LOC", "2"))
        return prefetch_rows(s, hot, "w", passes)
    return s


def _unroll_vectorise(s: Schedule, block, count: int) -> None:
    *_, lane = loops = s.get_loops(block)
    for loop in loops[-1 - count:-1]:
        s.unroll(loop)
    s.vectorize(lane)
