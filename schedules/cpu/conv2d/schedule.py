"""Schedule of the direct convolution.

The loop nest. A line is a row of the image, or a register tile where the tile is `flat`:

    parallel task (image, block of output channels, lines)              of tile.rows lines; (image, lines) where `weights_inner`
        line, tile of a row                                             with all blocks of output channels in it where `weights_inner`
            kernel row, kernel column, input channel
                unrolled pixels x vectors, vectorised lanes             the register tile
            unrolled pixels x vectors, vectorised lanes                 the epilogue, fused into the store

A flat tile sums many input channels in parts (`long_sums.py`):

            part of the input channels
                input channel of the part: the register tile
                unrolled pixels x vectors                               added to the accumulators, which lie on the stack

The last tile of a row has only the pixels that are left, and code of its own. Kernel rows that meet nothing but padding are left out.
Where the tile is flat, pixels beyond the end of the image are computed from valid memory, and the epilogue drops them.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.s_tir.stmt import SBlock

from ....targets import CpuTarget
from ...kernel import SCALED
from ...tir.analysis import find_annotated
from ...tir.bound_loops import ALIKE, EACH, SPLIT
from ...tir.epilogue import inline_epilogue
from ..common import ON_STACK, extent_of
from ..injective.elementwise import schedule_scaled
from ..long_sums import split_sum
from ..predicates import Condition, with_conditions
from .compute import ANNOTATION, LIMITS, UNFOLDED, ravel
from .prefetch import prefetch_rows, share_of
from .store_by_blocks import store_by_blocks


def schedule_padding(s: Schedule, lanes: int) -> None:
    """Schedule the padded copy of the input, if there is one: parallel over rows, in vectors if the channels fill whole ones."""
    block = next((b for b in s.get_child_blocks(s.get_sblock("root")) if s.get(b).name_hint.startswith("padded")), None)
    if block is None:
        return
    n, y, x, c = s.get_loops(block)
    channels = int(s.get(c).extent)
    if channels % lanes == 0:
        _, lane = s.split(c, [None, lanes])
        s.vectorize(lane)
    s.parallel(s.fuse(n, y))


def schedule_conv2d(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Schedule a function around `conv2d`, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    conv = find_annotated(s, ANNOTATION)
    if conv is None:
        return None
    pixels, vectors, flat, rows, weights_inner, parallel, prefetch = (int(v) for v in s.get(conv).annotations[ANNOTATION])
    # 1. One block after the accumulators: crop, bias, activation, residual. Pixels of blocks are put in their places in a second nest.
    apart = False
    name, groups = s.get(conv).name_hint, int(s.get(conv).reads[-1].source.shape[0])
    if any(s.get(block).name_hint == UNFOLDED for block in s.get_child_blocks(s.get_sblock("root"))):
        crop = s.get_sblock("crop")
        if whole_blocks(s, conv, crop):
            inline_epilogue(s, crop, keep=("padded", SCALED, name))
        else:  # the sums of whole blocks are what the second nest reads
            apart = True
            s.compute_inline(crop)
    out = inline_epilogue(s, conv, keep=("padded", SCALED))
    whole = whole_blocks(s, conv, out)
    if not whole and not apart:
        last = s.get(out).name_hint
        s = Schedule(store_by_blocks(s.mod["main"], last, s.get(conv).writes[0].source.name, groups))
        conv, out = s.get_sblock(name), s.get_sblock(last)
    part = _split_sum(s, conv) if flat else None
    # 2. Its loops: tasks, then lines, tiles, pixels, and the channels of a block as vectors. The accumulators of a tile stay in registers
    # from the first product to the epilogue.
    if whole:
        order, inner = split_output(s, out, conv, target.lanes, bool(flat), pixels, rows)
        *passes, pixel, vector, lane = inner
    else:
        order, inner = split_sums(s, s.cache_write(conv, 0, ON_STACK) if apart else out, bool(flat), pixels, rows)
        *passes, pixel, channel = inner
    task, innermost = ordered(s, order, passes, inner[len(passes):], bool(flat), bool(weights_inner))
    s.unroll(pixel)
    if not whole:
        vector, lane = s.split(channel, [None, target.lanes])
        s.annotate(vector, SPLIT, EACH)  # how many lanes the last one has is known where it stands by itself
    s.unroll(vector)
    s.vectorize(lane)
    s.compute_at(conv, innermost, preserve_unit_loops=True)
    if parallel:
        s.parallel(task)
    if parallel and apart:
        s.parallel(s.fuse(*s.get_loops(out)[:2]))
    # 3. A register tile: unrolled, vectorised.
    if part is not None:
        passes = [*passes, _schedule_sum_of_parts(s, conv, part, target.lanes)]
        conv = part
    pixel, channel, ky, kx, ci = s.get_loops(conv)[-5:]
    vector, lane = s.split(channel, [None, target.lanes])
    steps = [ci]
    if prefetch:
        around = passes if part is None else passes[:-1]
        steps = s.split(ci, [None, share_of(prod(extent_of(s, loop) for loop in around), extent_of(s, ci))])
    s.reorder(ky, kx, *steps, pixel, vector, lane)
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    weight = s.get(conv).reads[-1].source
    s.decompose_reduction(conv, ky)
    # 4. What comes before.
    schedule_padding(s, target.lanes)
    schedule_scaled(s, target)
    # 5. Products that nobody needs are left out. Each pass over the weights of a block asks for a part of those of the next block.
    limits: dict[str, Condition] = {} if flat else _limits(s, conv, passes[-1])
    if prefetch:
        s = prefetch_rows(s, steps[0], weight.name, passes, target.model.line_bytes, taps=int(weight.shape[-4]) * int(weight.shape[-3]))
    return with_conditions(s, limits) if limits else s


def _split_sum(s: Schedule, conv: SBlockRV) -> SBlockRV | None:
    *_, ky, kx, ci = s.get_loops(conv)
    return split_sum(s, conv, ci) if extent_of(s, ky) * extent_of(s, kx) == 1 else None


def _schedule_sum_of_parts(s: Schedule, conv: SBlockRV, part: SBlockRV, lanes: int) -> LoopRV:
    """Schedule the block that adds the parts; return the loop over them, in which the sum of one is computed."""
    pixel, channel, number = s.get_loops(conv)[-3:]
    vector, lane = s.split(channel, [None, lanes])
    s.reorder(number, pixel, vector, lane)
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    s.decompose_reduction(conv, number)
    s.compute_at(part, number, preserve_unit_loops=True)
    return number


def _limits(s: Schedule, conv: SBlockRV, tile: LoopRV) -> dict[str, Condition]:
    """The conditions under which products are needed: the pixel exists, and the kernel row does not lie on zeros of the padding.

    A tile lies in one row of the image, so its pixels agree on the kernel rows. The loop over tiles is split where the answer changes.
    """
    *_, high, wide, _, kernel, _, _ = (int(v.dom.extent) for v in s.get(conv).iter_vars)
    height, width, stride, dilation, begin, end = (int(v) for v in s.get(conv).annotations[LIMITS])
    if wide > width:
        s.annotate(tile, SPLIT, ALIKE)

    def wanted(block: SBlock) -> ir.Expr | None:
        *_, y, x, _channel, ky, _kx, _ci = (v.var for v in block.iter_vars)
        row = y * stride + ky * dilation
        conditions = [(wide > width, x < width), (high > height, y < height), (begin > 0, row >= begin),
                      ((height - 1) * stride + (kernel - 1) * dilation >= end, row < end)]
        needed = [condition for can_fail, condition in conditions if can_fail]
        return tirx.all(*needed) if needed else None

    return {s.get(conv).name_hint: wanted}


def whole_blocks(s: Schedule, conv: SBlockRV, out: SBlockRV) -> bool:
    """Whether the output's channels fill the blocks of the accumulators, so that both can share their loops.

    Parameters
    ----------
    s : Schedule
        The schedule of both.
    conv : SBlockRV
        The block that accumulates.
    out : SBlockRV
        The block that stores the output.
    """
    _, blocks, *_, block = (int(v.dom.extent) for v in s.get(conv).iter_vars if v.iter_type == tirx.IterVar.DataPar)
    return int(s.get(out).iter_vars[-1].dom.extent) == blocks * block


def split_output(s: Schedule, out: SBlockRV, conv: SBlockRV, lanes: int, flat: bool, pixels: int,
                  rows: int) -> tuple[list[LoopRV], list[LoopRV]]:
    """Split the output's loops: those of tasks (image, block, lines), and those within (lines, tiles, pixels, vector, lane)."""
    blocks = int(s.get(conv).iter_vars[1].dom.extent)
    if flat:
        n, line, f = _flat_output(s, out, conv)
        line_out, *inner = s.split(line, [None, rows, pixels])
    else:
        n, y, x, f = s.get_loops(out)
        line_out, line = s.split(y, [None, rows])
        inner = [line, *s.split(x, [None, pixels])]
    block, vector, lane = s.split(f, [blocks, None, lanes])
    return [n, block, line_out], [*inner, vector, lane]


def _flat_output(s: Schedule, out: SBlockRV, conv: SBlockRV) -> tuple[LoopRV, LoopRV, LoopRV]:
    """Make the output's loops (image, pixel, channel): a convolution's rows, or a dense layer's leading axes, become one loop."""
    shape = [int(v.dom.extent) for v in s.get(out).iter_vars[:-1]]
    if s.get(conv).name_hint.startswith("dense"):
        dtype = str(s.get(out).iter_vars[0].var.ty.dtype)
        in_a_line = tirx.IndexMap.from_func(lambda *i: (ravel(i[:-1], shape), i[-1]), ndim=len(shape) + 1, index_dtype=dtype)
        s.transform_block_layout(out, in_a_line)
        line, f = s.get_loops(out)
        return s.add_unit_loop(line), line, f
    s.transform_block_layout(out, lambda n, y, x, f: (n, y * shape[2] + x, f))
    n, line, f = s.get_loops(out)
    return n, line, f


def ordered(s: Schedule, outer: Sequence[LoopRV], passes: Sequence[LoopRV], rest: Sequence[LoopRV], flat: bool,
             weights_inner: bool) -> tuple[LoopRV, LoopRV]:
    """Put loops into the order in which they run: those of tasks (image, block, lines), `passes` (lines, tiles), and those of a tile.

    Returns the loop over tasks, and the innermost loop around a tile.
    """
    n, block, line = outer
    if weights_inner:
        around = [*passes, block] if flat else [*passes[:-1], block, passes[-1]]
        s.reorder(n, line, *around, *rest)
        return s.fuse(n, line), around[-1]
    s.reorder(n, block, line, *passes, *rest)
    return s.fuse(n, block, line), passes[-1]


def split_sums(s: Schedule, sums: SBlockRV, flat: bool, pixels: int, rows: int) -> tuple[list[LoopRV], list[LoopRV]]:
    """Split the loops of sums that have a nest of their own, as `split_output` does; channels stay one loop."""
    n, block, *space, channel = s.get_loops(sums)
    if flat:
        line_out, *inner = s.split(space[0], [None, rows, pixels])
    else:
        line_out, line = s.split(space[0], [None, rows])
        inner = [line, *s.split(space[1], [None, pixels])]
    return [n, block, line_out], [*inner, channel]
