"""The average of a channels-last map, as the vector that fully connected layers read: squeeze and excitation.

    parallel part of the rows                               one for each core, which has made these rows if the kernel before
        block of channels                                   goes through the image likewise
            row, column: unrolled vectors                   sums in registers
    block of channels: the parts added
"""
from __future__ import annotations

from math import ceil, gcd

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from ..common import extent_of
from ..reduction.columns import choose_tile

SUMS, TOTAL, MEAN = NAMES = "pooled_sums", "pooled_total", "pooled_mean"  # of the blocks


def parts_of(size: tuple[int, int], channels: int, target: CpuTarget) -> int:
    """Return in how many parts the rows are added up.

    Parameters
    ----------
    size : tuple of int
        Height and width of the map.
    channels : int
    target : CpuTarget
    """
    height, width = size
    saved = 4 * height * width * channels / target.model.l2_bytes_per_cycle * (1 - 1 / target.cores)
    return target.cores if saved > target.model.launch_cycles else 1


def average(data: te.Tensor, parts: int) -> te.Tensor:
    """Write the average as TE.

    Parameters
    ----------
    data : te.Tensor
        (1, H, W, C).
    parts : int
        As `parts_of` says.

    Returns
    -------
    te.Tensor
        (1, 1, 1, C).
    """
    _, height, width, channels = (int(d) for d in data.shape)
    rows = ceil(height / parts)  # with fewer rows than parts, the last parts have none
    r, x, t = te.reduce_axis((0, rows), "r"), te.reduce_axis((0, width), "x"), te.reduce_axis((0, parts), "t")

    def part(p: ir.Expr, c: ir.Expr) -> ir.Expr:
        row = p * rows + r
        value = data[0, row, x, c]
        return te.sum(value if parts * rows == height else tirx.if_then_else(row < height, value, tirx.const(0, "float32")), axis=[r, x])

    sums = te.compute((parts, channels), part, name=SUMS)
    total = te.compute((1, 1, 1, channels), lambda n, y, x, c: te.sum(sums[t, c], axis=t), name=TOTAL)
    return te.compute(total.shape, lambda *at: total(*at) * tirx.const(1 / (height * width), "float32"), name=MEAN)


def schedule_average(s: Schedule, target: CpuTarget) -> bool:
    """Schedule the blocks of `average`; return whether a function has them."""
    named = {s.get(block).name_hint: block for block in s.get_child_blocks(s.get_sblock("root"))}
    if MEAN not in named:
        return False
    # 1. Sums of parts.
    part, channel, row, column = s.get_loops(named[SUMS])
    parts, channels = extent_of(s, part), extent_of(s, channel)
    tile = choose_tile(channels, 1, parts, target.lanes, target)
    block, vector, lane = s.split(channel, [None, tile.vectors, tile.length])
    s.reorder(row, column, vector, lane)
    s.unroll(vector)
    s.vectorize(lane)
    task = s.fuse(part, block)
    if parts > 1:
        s.parallel(task)
    s.decompose_reduction(named[SUMS], row)
    # 2. The parts added.
    block, lane = s.split(s.fuse(*s.get_loops(named[MEAN])), [None, gcd(channels, target.lanes)])
    s.vectorize(lane)
    s.compute_at(named[TOTAL], block, preserve_unit_loops=True)
    *_, lane, part = s.get_loops(named[TOTAL])
    s.reorder(part, lane)
    s.vectorize(lane)
    s.decompose_reduction(named[TOTAL], part)
    return True
