"""Schedule of the convolution of bytes: the loop nest of the direct convolution in float32, with four channels in a step (two of bfloat16).

    parallel task (image, block of output channels, lines)              of tile.rows lines; (image, lines) where `weights_inner`
        line, tile of a row                                             with all blocks of output channels in it where `weights_inner`
            kernel row, kernel column, input channels of a step         where a load brings several steps: so many, unrolled
                unrolled pixels x vectors, lanes and products           the register tile: an instruction a vector (`dot_products.py`)
            unrolled pixels x vectors, vectorised lanes                 the epilogue, fused into the store

Kernel rows that meet nothing but padding are computed: of bytes, their pixels are not 0 but the zero point.
"""
from __future__ import annotations

from math import gcd

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.s_tir.stmt import SBlock

from ....targets import CpuTarget
from ...tir.analysis import find_annotated
from ...tir.bound_loops import SPLIT
from ...tir.dot_products import DOT, FOURS
from ...tir.epilogue import inline_epilogue
from ..common import ON_STACK, extent_of
from ..conv2d.depthwise import LANES, schedule_depthwise
from ..conv2d.schedule import ordered, split_output, split_sums, whole_blocks
from ..predicates import Condition, with_conditions
from .compute import ANNOTATION, LIMITS
from .isa import dot_of, pair_dot_of
from .padding import schedule_byte_padding


def schedule_int8(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Schedule a function around `int8_conv2d` or `int8_dense`, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    conv = find_annotated(s, ANNOTATION)
    if conv is None:
        return None
    pixels, _, flat, rows, weights_inner, parallel, _, adds_halves = (int(v) for v in s.get(conv).annotations[ANNOTATION])
    out = inline_epilogue(s, conv)
    whole = whole_blocks(s, conv, out)
    if whole:
        order, inner = split_output(s, out, conv, target.lanes, bool(flat), pixels, rows)
        *passes, pixel, vector, lane = inner
        rest = inner[len(passes):]
    else:
        sums = s.cache_write(conv, 0, ON_STACK)
        order, inner = split_sums(s, sums, bool(flat), pixels, rows)
        *passes, pixel, channel = inner
        rest = inner[len(passes):]
    task, innermost = ordered(s, order, passes, rest, bool(flat), bool(weights_inner))
    if not whole:
        vector, lane = s.split(channel, [None, target.lanes])
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    s.compute_at(conv, innermost, preserve_unit_loops=True)
    if parallel:
        s.parallel(task)
        if not whole:
            s.parallel(s.fuse(*s.get_loops(out)[:2]))
    _schedule_tile(s, conv, target, adds_halves)
    schedule_byte_padding(s, target)
    limits: dict[str, Condition] = {} if flat else _limits(s, conv, passes[-1])
    return with_conditions(s, limits) if limits else s


def schedule_byte_depthwise(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Schedule a function around `pair_depthwise`: as one in float32, and the padded copy; None for every other function."""
    s = schedule_depthwise(func, target) if find_annotated(Schedule(func), LANES) is not None else None
    if s is not None:
        schedule_byte_padding(s, target)
    return s


def _schedule_tile(s: Schedule, conv: SBlockRV, target: CpuTarget, adds_halves: int) -> None:
    """A register tile: unrolled, an instruction for each vector."""
    pixel, channel, ky, kx, ci, k = s.get_loops(conv)[-6:]
    vector, lane = s.split(channel, [None, target.lanes])
    dots = [dot for dot in (dot_of(target), pair_dot_of(target)) if dot is not None and dot.depth == extent_of(s, k)]
    fours = gcd(dots[0].fours, extent_of(s, ci)) if dots else 1
    steps = s.split(ci, [None, fours]) if fours > 1 else [ci]
    s.reorder(ky, kx, *steps, pixel, vector, lane, k)
    if fours > 1:
        s.annotate(steps[-1], FOURS, fours)
    s.unroll(pixel)
    s.unroll(vector)
    s.annotate(lane, DOT, adds_halves)
    s.decompose_reduction(conv, ky)


def _limits(s: Schedule, conv: SBlockRV, tile: LoopRV) -> dict[str, Condition]:
    """The condition under which products are needed: the pixel exists. The loop over tiles is split where the answer changes."""
    *_, high, wide, _, _, _, _, _ = (int(v.dom.extent) for v in s.get(conv).iter_vars)
    height, width = (int(v) for v in s.get(conv).annotations[LIMITS])
    if wide > width:
        s.annotate(tile, SPLIT, 1)

    def wanted(block: SBlock) -> ir.Expr | None:
        *_, y, x, _channel, _ky, _kx, _ci, _k = (v.var for v in block.iter_vars)
        needed = [condition for can_fail, condition in ((wide > width, x < width), (high > height, y < height)) if can_fail]
        return tirx.all(*needed) if needed else None

    return {s.get(conv).name_hint: wanted}
