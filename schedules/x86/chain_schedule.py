"""Schedule of a chain of convolutions.

    parallel task (image, rows, and where all stages behind the first are depthwise: block of channels)
        a plane of each stage: block of output channels, row, tile of a row
            kernel row, kernel column, input channel
                unrolled pixels x vectors, vectorised lanes             the register tile
            unrolled pixels x vectors, vectorised lanes                 bias, activation, padding; stored to the plane
        the last stage likewise, stored to the output
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.s_tir.stmt import SBlock

from ...targets import Target
from ..bound_loops import SPLIT
from .chain import ANNOTATION, Limits
from .epilogue import inline_epilogue
from .guards import guarded

UNROLLED_TAPS = 25  # of a depthwise kernel: more make code that does not fit the cache of decoded instructions


@dataclass(frozen=True)
class _Accumulation:
    """An accumulating block and what its annotation says."""

    block: SBlockRV
    name: str
    pixels: int
    vectors: int
    limits: Limits

    kernel_h: int

    @property
    def reads_row_by_row(self) -> bool:
        """No row of its input is read for two rows of its output, nor left out between them."""
        return self.depthwise and self.kernel_h == 1 and self.limits.stride_h == 1

    @property
    def depthwise(self) -> bool:
        return self.vectors == 0


def schedule_chain(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """Rule for functions around `chain`, with any element-wise epilogue."""
    s = Schedule(func)
    stages = _accumulations(s)
    if not stages:
        return None
    blocks = {s.get(b).name_hint: b for b in s.get_child_blocks(s.get_sblock("root"))}
    planes = [block for name, block in blocks.items() if name.startswith("plane")]
    keep = ("plane", *(stage.name for stage in stages))
    out = inline_epilogue(s, stages[-1].block, keep=keep)
    # 1. Tasks.
    rows = int(s.get(stages[-1].block).iter_vars[3].dom.extent)
    n, y, x, f = s.get_loops(out)
    t, r = s.split(y, [None, rows])
    outer = [n, t]
    if all(stage.depthwise for stage in stages[1:]):
        block = max(1, stages[0].vectors) * target.lanes
        c, f = s.split(f, [None, block])
        outer.append(c)
    s.reorder(*outer, r, x, f)
    task = s.fuse(*outer)
    s.parallel(task)
    # 2. The last stage, then backwards every plane with the stage that makes it: row by row where that is how it is read.
    tiles = [_tile(s, stages[-1], (r, x, f), target.lanes)]
    for plane, reader in zip(reversed(planes), reversed(stages), strict=False):
        s.compute_at(plane, r if reader.reads_row_by_row else task, preserve_unit_loops=True)
        r, x, c = s.get_loops(plane)[-3:]
        if len(tiles) < len(stages):
            tiles.append(_tile(s, stages[-1 - len(tiles)], (r, x, c), target.lanes))
        else:  # a copy of the image's rows
            s.vectorize(s.split(c, [None, target.lanes])[1])
    return _limited(s, stages, tiles)


def _accumulations(s: Schedule) -> list[_Accumulation]:
    found = []
    for block in s.get_child_blocks(s.get_sblock("root")):
        values = s.get(block).annotations.get(ANNOTATION)
        if values is not None:
            pixels, vectors, *limits = (int(v) for v in values)
            kernel_h = int(s.get(block).iter_vars[-2 if vectors == 0 else -3].dom.extent)
            found.append(_Accumulation(block, s.get(block).name_hint, pixels, vectors, Limits(*limits), kernel_h))
    return found


def _tile(s: Schedule, stage: _Accumulation, loops: tuple[LoopRV, LoopRV, LoopRV], lanes: int) -> LoopRV:
    """Bring the accumulators of one stage into registers, at a tile of the loops (row, column, channel) that store them."""
    row, column, channel = loops
    tile, pixel = s.split(column, [None, stage.pixels])
    block, vector, lane = s.split(channel, [None, max(1, stage.vectors), lanes])
    # A dense stage reads the weights of a block again for every row, a depthwise one the row of its input for every block.
    s.reorder(*((row, block) if stage.depthwise else (block, row)), tile, pixel, vector, lane)
    s.unroll(vector)
    s.unroll(pixel)
    s.vectorize(lane)
    s.compute_at(stage.block, tile, preserve_unit_loops=True)
    if stage.depthwise:
        *_, pixel, lane, ky, kx = s.get_loops(stage.block)
        s.reorder(ky, kx, pixel, lane)
        if int(s.get(ky).extent) * int(s.get(kx).extent) <= UNROLLED_TAPS:
            s.unroll(ky)
        s.unroll(kx)
    else:
        *_, pixel, channel, ky, kx, ci = s.get_loops(stage.block)
        vector, lane = s.split(channel, [None, lanes])
        s.reorder(ky, kx, ci, pixel, vector, lane)
        s.unroll(kx)
        s.unroll(vector)
    s.unroll(pixel)
    s.vectorize(lane)
    s.decompose_reduction(stage.block, ky)
    return tile


def _limited(s: Schedule, stages: list[_Accumulation], tiles: list[LoopRV]) -> Schedule:
    """Leave out the sums that `Limits` says nobody wants; loops over tiles are split where the answer changes."""
    for tile in tiles:
        s.annotate(tile, SPLIT, 1)
    return guarded(s, {s.get(stage.block).name_hint: partial(_wanted, stage=stage) for stage in stages})


def _wanted(block: SBlock, stage: _Accumulation):
    limits = stage.limits
    _, t, _, r, x, _, ky, kx = [v.var for v in block.iter_vars[:8]]
    _, tasks, _, count, wide = (int(v.dom.extent) for v in block.iter_vars[:5])
    row, in_row = t * limits.step - limits.before + r, t * limits.in_step - limits.in_before + r * limits.stride_h + ky * limits.dilation_h
    in_column = x * limits.stride_w + kx * limits.dilation_w - limits.in_left
    conditions = [in_column >= 0, in_column < limits.in_width] + [x < limits.width] * (wide > limits.width)
    conditions += [row >= 0] * (limits.before > 0)
    conditions += [row < limits.height] * ((tasks - 1) * limits.step - limits.before + count > limits.height)
    conditions += [in_row >= 0, in_row < limits.in_height] * (limits.in_height > 0)
    return tirx.all(*conditions)
