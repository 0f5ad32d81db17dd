"""Which convolutions that follow each other become one kernel: an analytical model over their shapes and the target.

A kernel of its own pays for waking the threads, for a round trip of its output through the caches, and for a padded copy of its input.
A chain, of a single convolution too, leaves padding out, and pays for rows at the borders of its tasks that are computed twice. The
cheapest way to cut a sequence into kernels is found exactly, by dynamic programming.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, gcd

from ...targets import Target
from .chain import lines
from .chain_stage import ChainStage, layouts, wirings
from .conv2d import Geometry
from .groups import divisors, mergeable
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


def stage_options(link: Link, target: Target, last: bool, whole: bool = False) -> list[ChainStage]:
    """Ways to compute a convolution within a chain: its groups as they are, some of them merged or interleaved; the best tile of each.

    What is neither cheaper than another nor takes less room in a plane is left out. `whole`: channels have to fill the blocks, without
    padding between them, as of a chain that ends in a depthwise stage.
    """
    if link.depthwise:
        return [] if last and link.channels % target.lanes else [ChainStage(link.geometry, _depthwise_pixels(link), 0)]
    each = link.geometry.filters // link.geometry.groups
    plain = [_best_tile(replace(link.geometry, groups=link.geometry.groups // merged), 1, link, target, last, whole)
             for merged in divisors(link.geometry, target.lanes)]
    kept: list[ChainStage] = []
    priced = sorted(((_dense_cycles(link, stage, last, target), stage.sets * stage.blocks(target.lanes) * stage.vectors, i, stage)
                     for i, stage in enumerate(plain) if stage is not None))
    for _, room, _, stage in priced:
        if all(room < other.sets * other.blocks(target.lanes) * other.vectors for other in kept):
            kept.append(stage)
    ways = [] if whole else [_best_tile(link.geometry, m, link, target, last, whole) for m in interleavable(link.geometry, target.lanes)]
    best = min((stage for stage in ways if stage is not None), key=lambda stage: _dense_cycles(link, stage, last, target), default=None)
    if best is not None and (not priced or _dense_cycles(link, best, last, target) < priced[0][0]):
        kept.append(best)
    return kept


def interleavable(geometry: Geometry, lanes: int) -> list[int]:
    """Numbers of groups that fill whole vectors together, with the same number of filters each."""
    groups, each = geometry.groups, geometry.filters // geometry.groups
    return [m for m in range(2, min(groups, lanes) + 1) if lanes % m == 0 and groups % m == 0 and each % (lanes // m) == 0]


def _best_tile(geometry: Geometry, interleaved: int, link: Link, target: Target, last: bool, whole: bool) -> ChainStage | None:
    """The cheapest register tile within one row."""
    found = []
    for vectors in range(1, 5):
        for pixels in range(1, min(target.vector_registers, link.output[1]) + 1):
            stage = ChainStage(geometry, pixels, vectors, interleaved=interleaved)
            if fits_registers(pixels, vectors, target) and not (interleaved > 1 and vectors == 1) and not (last and not stage.spread_evenly(target.lanes)) \
                    and not (whole and stage.per_set % stage.block(target.lanes)):
                found.append((_dense_cycles(link, stage, last, target), -pixels, vectors, stage))
    return min(found, key=lambda option: option[:3])[-1] if found else None


def _dense_cycles(link: Link, stage: ChainStage, last: bool, target: Target) -> float:
    """Of one output row, all channels, one image, where `stage` computes a convolution that is not depthwise."""
    lanes, blocks, m = target.lanes, stage.blocks(target.lanes), stage.interleaved
    geometry = stage.geometry
    shape = replace(geometry.shape(1, *link.size, link.channels), groups=stage.sets, filters=stage.per_set)
    narrow = 0
    if last and m > 1:
        narrow = 2 * m * stage.vectors - stage.vectors  # a shuffle and a store for the channels of each group
    elif last:
        filled = stage.per_set // blocks
        narrow = filled // gcd(filled, lanes) - stage.vectors
    work = line_cycles(shape, stage.pixels, stage.vectors, False, target) + STORE_CYCLES * max(0, narrow) * link.output[1]
    return stage.sets * blocks * work


def _depthwise_pixels(link: Link) -> int:
    width = link.output[1]
    return min(DEPTHWISE_PIXELS, key=lambda p: ceil(width / p) * p)


def _depthwise_cycles(link: Link, pixels: int, vectors: int) -> float:
    """Of one output row, one image; `vectors` of channels, padding included."""
    taps = link.geometry.kernel[0] * link.geometry.kernel[1]
    return ceil(link.output[1] / pixels) * pixels * vectors * (taps * DEPTHWISE_CYCLES + STORE_CYCLES)


def _row_cycles(links: Sequence[Link], stages: Sequence[ChainStage], target: Target) -> list[float]:
    """Of one output row of every stage, all channels, one image."""
    return [_depthwise_cycles(link, stage.pixels, ceil(layout.size / target.lanes)) if link.depthwise
            else _dense_cycles(link, stage, stage is stages[-1], target)
            for link, stage, layout in zip(links, stages, layouts(stages, target.lanes), strict=True)]


def _single(link: Link, target: Target) -> tuple[float, Segment]:
    """Cycles of a kernel of its own, and of its output's way to the next."""
    remote = 0.0
    if link.depthwise:
        work = link.batch * link.output[0] * _depthwise_cycles(link, _depthwise_pixels(link), ceil(link.channels / target.lanes))
    else:
        merged = mergeable(link.geometry, link.channels, link.batch, link.size, target)
        link = replace(link, geometry=replace(link.geometry, groups=link.geometry.groups // merged))
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
    """The links as stages of one kernel, the cheapest that fit each other; None where that can't be."""
    if any(p < 0 for link in links for p in link.geometry.padding) or any(link.geometry.upsample != (1, 1) for link in links):
        return None
    if links[0].depthwise and links[0].channels % target.lanes:
        return None
    last_dense = max((i for i, link in enumerate(links) if not link.depthwise), default=-1)
    whole = last_dense if links[-1].depthwise else -1
    options = [stage_options(link, target, link is links[-1], i == whole) for i, link in enumerate(links)]

    def work(stages: tuple[ChainStage, ...]) -> float:
        return sum(link.output[0] * row for link, row in zip(links, _row_cycles(links, stages, target), strict=True))

    return next((stages for stages in sorted(product(*options), key=work) if wirings(stages, links[0].channels, target.lanes) is not None), None)


def _fused(links: Sequence[Link], target: Target) -> tuple[float, Segment]:
    """Cycles of one kernel for all of them, with the best number of rows for a task; infinite where that can't be."""
    stages = fused_stages(links, target)
    if stages is None:
        return float("inf"), Segment(len(links))
    per_row = _row_cycles(links, stages, target)
    height = links[-1].output[0]
    rows, cost = min(((rows, _task_cost(links, stages, per_row, rows, target)) for rows in range(1, height + 1)), key=lambda o: o[1])
    return cost + _round_trip(links[-1], target), Segment(len(links), rows, stages)


def _task_cost(links: Sequence[Link], stages: Sequence[ChainStage], per_row: Sequence[float], rows: int, target: Target) -> float:
    """Cycles of the busiest core."""
    height = links[-1].output[0]
    spans = lines([link.geometry for link in links], rows)[1:]
    counts = [min(span.count, link.output[0]) for span, link in zip(spans, links, strict=True)]
    blocks = 1
    if all(link.depthwise for link in links[1:]):
        blocks = max(1, links[-1].channels // stages[0].block(target.lanes))
    planes, chunk = 0.0, target.lanes
    for count, link, stage, layout, reader in zip(counts, links, stages, layouts(stages, target.lanes), links[1:], strict=False):
        chunk = chunk if stage.depthwise else stage.block(target.lanes)
        by_row = reader.depthwise and reader.geometry.kernel[0] == reader.geometry.stride[0] == 1  # made row by row, as it is read
        planes += 4 * (1 if by_row else count) * link.output[1] * (chunk if reader.depthwise else layout.size)
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
