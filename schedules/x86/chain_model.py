"""Which convolutions that follow each other become one kernel: an analytical model over their shapes and the target.

A kernel of its own pays for waking the threads, for a round trip of its output through the caches, and for a padded copy of its input.
A chain, of a single convolution too, leaves padding out, and pays for rows at the borders of its tasks that are computed twice. The
cheapest way to cut a sequence into kernels is found exactly, by dynamic programming.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from ...targets import Target
from .chain import ChainStage, lines
from .conv2d import Geometry
from .tiles import LAUNCH_CYCLES, STORE_CYCLES, TASK_CYCLES, choose_tile, cycles, fits_registers, line_cycles
from .winograd_model import choose_winograd, direct_cycles, winograd_cycles

DEPTHWISE_PIXELS = (8, 7, 6, 5)   # accumulators: enough to hide the multiply-add's latency, few enough for registers
DEPTHWISE_CYCLES = 0.75           # of one multiply-add of a vector: its input comes from memory, two loads in a cycle at best
NEAR_BYTES_PER_CYCLE = 16         # of one core, to a cache that holds what is written until it is read
FAR_BYTES_PER_CYCLE = 5           # likewise, where it does not
REMOTE_BYTES_PER_CYCLE = 1.5      # of one core, that another core has just written: what cutting by channels and not by rows costs
PLANES_SHARE = 0.6                # of the L2 cache for the planes of a task


@dataclass(frozen=True)
class Link:
    """A convolution in a sequence: its geometry, and the size (height, width), channels and batch of its input."""

    geometry: Geometry
    size: tuple[int, int]
    channels: int
    batch: int

    @property
    def output(self) -> tuple[int, int]:
        return self.geometry.output(*self.size)

    @property
    def depthwise(self) -> bool:
        return self.geometry.groups == self.channels == self.geometry.filters

    def shape(self):
        """For the tile model."""
        return self.geometry.shape(self.batch, *self.size, self.channels)


@dataclass(frozen=True)
class Segment:
    """`count` convolutions in one kernel, `rows` rows of the last in a task; one that is left as it is has neither rows nor stages."""

    count: int
    rows: int = 0
    stages: tuple[ChainStage, ...] = ()


def segments(links: Sequence[Link], target: Target) -> list[Segment]:
    """The cheapest cut of a sequence into kernels."""
    best: list[tuple[float, list[Segment]]] = [(0.0, [])]
    for end in range(1, len(links) + 1):
        options = []
        for begin in range(end):
            kinds = [_single(links[begin], target)] if end - begin == 1 else []
            if end - begin > 1 or _copied(links[begin], target):
                kinds.append(_fused(links[begin:end], target))
            options += [(best[begin][0] + cost, [*best[begin][1], segment]) for cost, segment in kinds]
        best.append(min(options, key=lambda option: option[0]))
    return best[-1][1]


def _copied(link: Link, target: Target) -> bool:
    """Whether a chain of this convolution alone can be better: it spares a copy. Its kernel columns are unrolled, which a loop over fewer
    channels than a vector has lanes does not repay."""
    return any(link.geometry.padding) and not link.depthwise and link.channels // link.geometry.groups >= target.lanes


def stage_tile(link: Link, target: Target, last: bool) -> tuple[int, int] | None:
    """Pixels and vectors of a register tile within one row; None where the last stage's channels would not fill its blocks."""
    filters = link.geometry.filters
    width = link.output[1]
    if link.depthwise:
        return None if last and filters % target.lanes else (min(DEPTHWISE_PIXELS, key=lambda p: ceil(width / p) * p), 0)
    per_group = filters // link.geometry.groups
    candidates = [(cycles(link.shape(), pixels, vectors, False, target), -pixels, vectors)
                  for vectors in range(1, 5) for pixels in range(1, min(target.vector_registers, width) + 1)
                  if fits_registers(pixels, vectors, target) and not (last and per_group % (vectors * target.lanes))]
    if not candidates:
        return None
    _, pixels, vectors = min(candidates)
    return -pixels, vectors


def _row_cycles(link: Link, tile: tuple[int, int], target: Target) -> float:
    """Of one output row, all channels, one image."""
    if link.depthwise:
        taps, vectors = link.geometry.kernel[0] * link.geometry.kernel[1], ceil(link.channels / target.lanes)
        return ceil(link.output[1] / tile[0]) * tile[0] * vectors * (taps * DEPTHWISE_CYCLES + STORE_CYCLES)
    shape = replace(link.shape(), batch=1)
    blocks = ceil(shape.filters / (tile[1] * target.lanes))
    return shape.groups * blocks * line_cycles(shape, *tile, False, target)


def _single(link: Link, target: Target) -> tuple[float, Segment]:
    """Cycles of a kernel of its own, and of its output's way to the next."""
    remote = 0.0
    if link.depthwise:
        work = link.batch * link.output[0] * _row_cycles(link, stage_tile(link, target, False), target)
    else:
        tile = choose_tile(link.shape(), target)
        work = cycles(link.shape(), tile.pixels, tile.vectors, tile.flat, target)
        remote = _remote_cycles(link, target.cores if tile.weights_inner else link.batch, target)
        blocking = choose_winograd(link.shape(), target) if link.geometry.plain else None
        if blocking is not None:
            work *= winograd_cycles(link.shape(), blocking, target) / direct_cycles(link.shape(), target)
        elif any(link.geometry.padding):
            remote += LAUNCH_CYCLES + _padded_bytes(link) * 2 / NEAR_BYTES_PER_CYCLE / target.cores
    return work / target.cores + LAUNCH_CYCLES + remote + _round_trip(link, target), Segment(1)


def _padded_bytes(link: Link) -> int:
    """Of the copy of its input with zeros around it."""
    top, left, bottom, right = link.geometry.padding
    return 4 * link.batch * (link.size[0] + top + bottom) * (link.size[1] + left + right) * link.channels


def _round_trip(link: Link, target: Target) -> float:
    """Cycles to write the output of a kernel, and to read it in the next, spread over the cores."""
    bytes_ = 4 * link.batch * link.output[0] * link.output[1] * link.geometry.filters
    rate = NEAR_BYTES_PER_CYCLE if bytes_ <= target.l2_bytes * target.cores / 2 else FAR_BYTES_PER_CYCLE
    return 2 * bytes_ / rate / target.cores


def fused_stages(links: Sequence[Link], target: Target) -> tuple[ChainStage, ...] | None:
    """The links as stages of one kernel; None where that can't be."""
    if any(p < 0 for link in links for p in link.geometry.padding) or any(link.geometry.upsample != (1, 1) for link in links):
        return None
    if links[0].depthwise and links[0].channels % target.lanes:
        return None
    tiles = [stage_tile(link, target, link is links[-1]) for link in links]
    if None in tiles:
        return None
    stages = tuple(ChainStage(link.geometry, *tile) for link, tile in zip(links, tiles, strict=True))
    if not all(_fills(stage, target) for stage in stages[:-1]):
        return None
    dense = [stage for stage in stages if not stage.depthwise]
    if stages[-1].depthwise and dense and not dense[-1].layout(target.lanes).identity:
        return None
    return stages


def _fused(links: Sequence[Link], target: Target) -> tuple[float, Segment]:
    """Cycles of one kernel for all of them, with the best number of rows for a task; infinite where that can't be."""
    stages = fused_stages(links, target)
    if stages is None:
        return float("inf"), Segment(len(links))
    per_row = [_row_cycles(link, (stage.pixels, stage.vectors), target) for link, stage in zip(links, stages, strict=True)]
    height = links[-1].output[0]
    rows, cost = min(((rows, _task_cost(links, stages, per_row, rows, target)) for rows in range(1, height + 1)), key=lambda o: o[1])
    return cost + _round_trip(links[-1], target), Segment(len(links), rows, stages)


def _fills(stage: ChainStage, target: Target) -> bool:
    """Whether the channels of a stage fill whole vectors, or all lie in one register tile: a second one partly filled can't be fused."""
    per_group = stage.geometry.filters // (1 if stage.depthwise else stage.geometry.groups)
    return per_group % target.lanes == 0 or per_group <= stage.block(target.lanes)


def _task_cost(links: Sequence[Link], stages: Sequence[ChainStage], per_row: Sequence[float], rows: int, target: Target) -> float:
    """Cycles of the busiest core."""
    height = links[-1].output[0]
    spans = lines([link.geometry for link in links], rows)[1:]
    counts = [min(span.count, link.output[0]) for span, link in zip(spans, links, strict=True)]
    blocks = 1
    if all(link.depthwise for link in links[1:]):
        blocks = max(1, links[-1].channels // (max(1, stages[0].vectors) * target.lanes))
    planes = 0.0
    for count, link, reader in zip(counts, links, links[1:], strict=False):
        by_row = reader.depthwise and reader.geometry.kernel[0] == reader.geometry.stride[0] == 1  # made row by row, as it is read
        planes += 4 * (1 if by_row else count) * link.output[1] * link.geometry.filters / blocks
    tasks = links[0].batch * ceil(height / rows) * blocks
    each = sum(count * cost for count, cost in zip(counts, per_row, strict=True)) / blocks + TASK_CYCLES
    if planes > PLANES_SHARE * target.l2_bytes:
        each += 2 * planes / NEAR_BYTES_PER_CYCLE
    return ceil(tasks / target.cores) * each + LAUNCH_CYCLES + _remote_cycles(links[0], tasks // blocks, target)


def _remote_cycles(link: Link, cuts: int, target: Target) -> float:
    """Cycles to fetch from other cores what they wrote of the input: everything but its own part, for a core that reads it all.

    Kernels cut by images or rows, `cuts` of them, give each core what it wrote itself but for the borders.
    """
    bytes_ = 4 * link.batch * link.size[0] * link.size[1] * link.channels
    return bytes_ * (1 - 1 / target.cores) / max(1, cuts) / REMOTE_BYTES_PER_CYCLE if cuts < target.cores else 0.0
