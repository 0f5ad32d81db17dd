"""Schedule of a chain of convolutions.

    parallel task (image, strips of rows, and block of channels where all stages behind the first are depthwise), strip
        a plane of each stage: block of output channels, row, tile of a row
            kernel row, kernel column, input channel
                unrolled pixels x vectors, vectorised lanes             the register tile
            unrolled pixels x vectors, vectorised lanes                 bias, activation, padding; stored to the plane
        a depthwise stage: chunk of channels
            the plane that it reads, those channels of it               stays in L1 or L2
            vector of the chunk, row, tile of a row, likewise
        the last stage likewise, stored to the output in vectors that divide the channels of a block
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd

import tvm_ffi
from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.s_tir.stmt import SBlock

from ....targets import CpuTarget
from ...kernel import SCALED
from ...tir.analysis import mentions
from ...tir.bound_loops import ALIKE, SPLIT
from ...tir.epilogue import inline_epilogue
from ...tir.transpose_tiles import transposed_tiles
from ..common import extent_of
from ..injective.elementwise import schedule_scaled
from ..predicates import with_conditions
from .compute import ANNOTATION, RESULT, SUMS, Limits
from .sliding import Window, slide
from .stage_options import line_of_channels

OWN_NUMBERS = 7     # integers of an annotation before those of its `Limits`
UNROLLED_TAPS = 25  # at most, of a depthwise kernel: more make code that does not fit the cache of decoded instructions


@dataclass(frozen=True)
class _Accumulation:
    """An accumulating block and what its annotation says.

    Parameters
    ----------
    block : SBlockRV
        The block's handle in the schedule.
    name : str
        Its name.
    pixels, vectors : int
        The register tile; a depthwise stage has 0 vectors.
    interleaved, blocks : int
        How many groups are interleaved, and the blocks of a set of such groups.
    strips : int
        Strips of a task.
    again, kept : int
        Those of the rows it reads (`Lines`).
    limits : Limits
        Which products are needed.
    kernel_h : int
        Height of the kernel.
    behind_dense : bool
        The stage before it is not depthwise.
    """

    block: SBlockRV
    name: str
    pixels: int
    vectors: int
    interleaved: int
    blocks: int
    strips: int
    again: int
    kept: int
    limits: Limits
    kernel_h: int
    behind_dense: bool

    @property
    def reads_row_by_row(self) -> bool:
        """Whether each row of its output is made of one row of its input, and every row is read."""
        return self.depthwise and self.kernel_h == 1 and self.limits.stride_h == 1

    @property
    def depthwise(self) -> bool:
        return self.vectors == 0

    def channels_of_set(self, s: Schedule, out: SBlockRV) -> int:
        """The fewest channels of the output that a task can take: those of a block, or of a set of interleaved groups."""
        blocks = int(s.get(self.block).iter_vars[2].dom.extent)
        return _channels_of(s, out) // blocks * (self.blocks if self.interleaved > 1 else 1)


def schedule_chain(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Schedule a function around `chain`, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    stages = _accumulations(s)
    if not stages:
        return None
    out_name = s.get(inline_epilogue(s, stages[-1].block, keep=("plane", SCALED, *(stage.name for stage in stages)))).name_hint
    schedule_scaled(s, target)
    s = _reading_whole_vectors(s)
    stages, stored = _accumulations(s), s.get_sblock(out_name)
    planes = [block for block in s.get_child_blocks(s.get_sblock("root")) if s.get(block).name_hint.startswith("plane")]
    chunks = _chunks(s, stages, target)
    # 1. Tasks.
    rows = int(s.get(stages[-1].block).iter_vars[3].dom.extent)
    alone_by_rows = len(stages) == 1 and not stages[0].depthwise and (planes or _reads_nchw(s, stages[0]))
    by_channels = all(stage.depthwise for stage in stages[1:]) and not alone_by_rows
    chunk = chunks[0] if len(stages) > 1 or stages[0].depthwise else stages[0].channels_of_set(s, stored)
    transposed, summed = out_name == RESULT, out_name == SUMS
    columns: Sequence[LoopRV]
    if summed:
        n, t, pixel, f, r, x = s.get_loops(stored)
        columns = x, pixel
        _schedule_total(s, target.lanes)
    else:
        n, f, y, x = s.get_loops(s.get_consumers(stored)[0]) if transposed else (s.get_loops(stored)[axis] for axis in (0, 3, 1, 2))
        t, r = s.split(y, [None, rows])
        columns = (x,)
    t, strip = s.split(t, [None, stages[0].strips])
    outer = [n, t]
    if by_channels:
        c, f = s.split(f, [None, chunk])
        outer.append(c)
    s.reorder(*outer, strip, r, *columns, f)
    task = s.fuse(*outer)
    s.parallel(task)
    if transposed:
        transposed_tiles(s, f, x, target.lanes, loads_go_on=False, within=[r])
        s.compute_at(stored, strip, preserve_unit_loops=True)
        r, *columns, f = s.get_loops(stored)[-3:]
    # 2. The last stage, then backwards every plane with the stage that makes it: row by row if it is read so, else only for the channels
    # that its reader takes next.
    nests = [_tile(s, stages[-1], stored, (r, columns, f), chunks[-1], target.lanes)]
    place, windows = nests[0].chunk or strip, []
    for plane, reader in zip(reversed(planes), reversed(stages), strict=False):
        by_row = reader.reads_row_by_row
        place = place if reader.depthwise else strip  # which reads all channels again for each that it makes
        s.compute_at(plane, nests[-1].row if by_row else place, preserve_unit_loops=True)
        r, x, c = s.get_loops(plane)[-3:]
        if not by_row:
            together = target.lanes if reader.depthwise else extent_of(s, c)
            windows.append(Window(plane, r, reader.again, reader.kept > 0, reader.limits.in_step, together))
        if len(nests) < len(stages):
            maker = stages[-1 - len(nests)]
            made = target.lanes if by_row and maker.depthwise else chunks[-1 - len(nests)]
            nests.append(_tile(s, maker, plane, (r, (x,), c), made, target.lanes))
            place = place if by_row else nests[-1].chunk or place
        elif _contiguous_channels(s, plane):  # a copy of the image's rows
            s.vectorize(s.split(c, [None, target.lanes])[1])
        else:
            transposed_tiles(s, x, c, target.lanes, loads_go_on=True, within=[r])
    if summed:
        s.decompose_reduction(stored, nests[0].row)
    # 3. Products that nobody needs, or that are there already, are left out; loops over tiles are split where the answer changes.
    for nest in nests:
        s.annotate(nest.tile, SPLIT, ALIKE)
    wanted = {s.get(stage.block).name_hint: partial(_wanted, stage=stage) for stage in stages}
    return with_conditions(slide(s, strip, windows), wanted)


def _schedule_total(s: Schedule, lanes: int) -> None:
    """Schedule the rest of an average: the sums of all tasks, one vector of channels after the other."""
    total = s.get_sblock("total")
    out = s.get(inline_epilogue(s, total, keep=("",))).name_hint
    n, *_, f = s.get_loops(s.get_sblock(out))
    vector, lane = s.split(f, [None, gcd(int(s.get(f).extent), lanes)])
    s.vectorize(lane)
    s.compute_at(total, vector, preserve_unit_loops=True)
    *_, f, t, p = s.get_loops(total)
    s.reorder(t, p, f)
    s.vectorize(f)
    s.decompose_reduction(total, t)


@dataclass(frozen=True)
class _Nest:
    """The loops of a stage: over chunks of its channels (None if it is not depthwise), over rows, and over tiles of a row."""

    chunk: LoopRV | None
    row: LoopRV
    tile: LoopRV


def _chunks(s: Schedule, stages: list[_Accumulation], target: CpuTarget) -> list[int]:
    """The channels that each stage takes at a time: a tile's of the last dense stage so far, or a cache line's where there is none."""
    lanes = target.lanes
    found, chunk = [], line_of_channels(int(s.get(stages[0].block).iter_vars[2].dom.extent) * lanes, target)
    for stage in stages:
        chunk = stage.vectors * lanes or chunk
        found.append(chunk)
    return found


def _reading_whole_vectors(s: Schedule) -> Schedule:
    """Declare that readers of accumulators and planes read all channels, padding too, so that whole vectors are computed."""
    accumulators = {s.get(stage.block).writes[0].source.name: stage for stage in _accumulations(s)}

    def whole(region: tirx.BufferRegion, reader: str) -> tirx.BufferRegion:
        name = region.source.name
        of_plane = name.startswith("plane") and reader in accumulators and not accumulators[reader].depthwise
        if name not in accumulators and not of_plane:
            return region
        *ranges, last = region.region
        every = ir.Range.from_min_extent(tirx.const(0, str(last.min.ty.dtype)), region.source.shape[-1])
        return tirx.BufferRegion(region.source, [*ranges, every])

    def reading(block: SBlock) -> SBlock:
        if not block.iter_vars:
            return block
        reads = [whole(region, block.writes[0].source.name) for region in block.reads]
        return SBlock(block.iter_vars, reads, block.writes, block.name_hint, block.body, block.init, block.alloc_buffers,
                      block.match_buffers, block.annotations)

    func = s.mod["main"]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, (SBlock, reading), order="post")))


def _contiguous_channels(s: Schedule, plane: SBlockRV) -> bool:
    """Whether a copy of the image reads channels that lie side by side, and not columns."""
    block = s.get(plane)
    [region] = block.reads
    return region.region[-1].min.same_as(block.iter_vars[-1].var)


def _reads_nchw(s: Schedule, stage: _Accumulation) -> bool:
    """Whether a stage reads an image that lies as (N, C, H, W): the second index depends on the input channel."""
    block = s.get(stage.block)
    images = [region for region in block.reads if len(region.region) == 4]
    return any(mentions(region.region[1].min, block.iter_vars[-1].var) for region in images)


def _accumulations(s: Schedule) -> list[_Accumulation]:
    """The accumulating blocks of all stages, in order."""
    found: list[_Accumulation] = []
    for block in s.get_child_blocks(s.get_sblock("root")):
        values = s.get(block).annotations.get(ANNOTATION)
        if values is not None:
            pixels, vectors, interleaved, blocks, strips, again, kept = (int(v) for v in values[:OWN_NUMBERS])
            limits = Limits(*(int(v) for v in values[OWN_NUMBERS:]))
            kernel_h = int(s.get(block).iter_vars[-2 if vectors == 0 else -3].dom.extent)
            behind_dense = bool(found) and not found[-1].depthwise
            name = s.get(block).name_hint
            found.append(_Accumulation(block, name, pixels, vectors, interleaved, blocks, strips, again, kept, limits, kernel_h,
                                       behind_dense))
    return found


def _tile(s: Schedule, stage: _Accumulation, out: SBlockRV, loops: tuple[LoopRV, Sequence[LoopRV], LoopRV], chunk: int,
          lanes: int) -> _Nest:
    """Bring the accumulators of one stage into registers, within a tile of the loops of the block that stores them.

    Parameters
    ----------
    s : Schedule
        The schedule of the chain.
    stage : _Accumulation
        The accumulators.
    out : SBlockRV
        The block that stores them.
    loops : tuple
        Its loops (row, columns, channel). Columns are one loop, or two: over tiles, and over the pixels of a tile.
    chunk : int
        The channels that a depthwise stage takes at a time.
    lanes : int
        Numbers in a vector.
    """
    row, columns, channel = loops
    tile, pixel = columns if len(columns) == 2 else s.split(*columns, [None, stage.pixels])
    # A dense stage reads the weights of a block again for every row, a depthwise one the rows of its input for every chunk.
    if stage.depthwise:
        block, vector, lane = s.split(channel, [None, chunk // lanes, lanes])
        # The rows that a vector is computed from stay in L1; but a dense stage before it, row by row, makes all vectors of a tile at once.
        order = [row, vector] if stage.behind_dense and stage.reads_row_by_row else [vector, row]
        s.reorder(block, *order, tile, pixel, lane)
    else:
        block, inner, lane = _split_channels(s, stage, out, channel, lanes)
        s.reorder(*block, row, tile, pixel, *inner, lane)
        for loop in inner:
            s.unroll(loop)
    s.unroll(pixel)
    s.vectorize(lane)
    s.compute_at(stage.block, tile, preserve_unit_loops=True)
    if stage.depthwise:
        *_, pixel, lane, ky, kx = s.get_loops(stage.block)
        taps = [ky, kx]
        s.reorder(ky, kx, pixel, lane)
        if int(s.get(ky).extent) * int(s.get(kx).extent) <= UNROLLED_TAPS:
            s.unroll(ky)
        s.unroll(kx)
    else:
        *_, pixel, channel, ky, kx, ci = s.get_loops(stage.block)
        vector, lane = s.split(channel, [None, lanes])
        # With a few input channels, but more than one, kernel columns are the outer loop. Otherwise LLVM keeps every number of the image
        # that several columns read, and has no registers left for the sums.
        taps = [kx, ky] if 1 < extent_of(s, ci) < lanes else [ky, kx]
        s.reorder(*taps, ci, pixel, vector, lane)
        s.unroll(kx)
        s.unroll(vector)
    s.unroll(pixel)
    s.vectorize(lane)
    s.decompose_reduction(stage.block, taps[0])
    return _Nest(block if stage.depthwise else None, row, tile)


def _split_channels(s: Schedule, stage: _Accumulation, out: SBlockRV, channel: LoopRV,
                    lanes: int) -> tuple[list[LoopRV], list[LoopRV], LoopRV]:
    """The loops over the blocks of a dense stage, over the vectors that are stored of a block, and over the lanes of one."""
    total, channels, plane = int(s.get(stage.block).iter_vars[2].dom.extent), _channels_of(s, out), s.get(out).name_hint.startswith("plane")
    if plane and int(s.get(out).iter_vars[2].dom.extent) > 1:
        return [], [s.get_loops(out)[-5]], channel  # parts; behind them come row, tile, pixel, channel
    if plane or stage.interleaved == 1 or s.get(out).name_hint == SUMS:
        together = gcd(channels // total, lanes)
        block, vector, lane = s.split(channel, [None, channels // total // together, together])
        return [block], [vector], lane
    set_, group, block, vector, lane = s.split(channel, [None, stage.interleaved, stage.blocks, stage.vectors, lanes // stage.interleaved])
    return [set_, block], [group, vector], lane


def _channels_of(s: Schedule, out: SBlockRV) -> int:
    """How many channels the block has that stores what a stage made: the length of its last axis that is no reduction."""
    return int([axis for axis in s.get(out).iter_vars if axis.iter_type == tirx.IterVar.DataPar][-1].dom.extent)


def _wanted(block: SBlock, stage: _Accumulation) -> ir.Expr:
    """The condition under which a product of a stage is needed, as its `Limits` say."""
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
