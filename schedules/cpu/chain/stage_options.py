"""What one convolution of a chain costs, and the ways to compute it: an analytical model over its shape and the target."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil, gcd

from ....targets import CpuTarget
from ...shapes import ConvGeometry, ConvWorkload
from ..conv2d.cost import STORE_CYCLES, fits_registers, line_cycles
from ..conv2d.depthwise_pixels import depthwise_pixels
from ..conv2d.groups import divisors
from .stage import ChainStage, layouts

SHUFFLE_COST = 0.5        # cycles that the shuffle of an operand takes from a multiply-add, where several groups share a vector


@lru_cache(maxsize=256)  # all sequences that a convolution is part of ask for it
def stage_options(link: ConvWorkload, target: CpuTarget, last: bool, whole: bool = False) -> tuple[ChainStage, ...]:
    """Ways to compute a convolution within a chain: its groups as they are, some of them merged or interleaved; the best tile of each.

    What is neither cheaper than another nor takes less room in a plane is left out. `whole`: channels have to fill the blocks, without
    padding between them, as of a chain that ends in a depthwise stage.
    """
    if link.depthwise:
        stage = ChainStage(link.geometry, depthwise_pixels(link, target), 0, pools=link.pools)
        return () if last and link.channels % target.lanes else (stage,)
    plain = [_best_tile(replace(link.geometry, groups=link.geometry.groups // merged), 1, link, target, last, whole)
             for merged in divisors(link.geometry, target.lanes)]
    together = [] if whole or link.gathered else interleavable(link.geometry, target.lanes)
    ways = [_best_tile(link.geometry, m, link, target, last, whole) for m in together]
    price = {stage: (dense_cycles(link, stage, last, target), stage.sets * stage.blocks(target.lanes) * stage.vectors)
             for stage in (*plain, *ways) if stage is not None}

    def undominated(stage: ChainStage, kept: Sequence[ChainStage]) -> bool:
        return all(price[stage][0] < price[other][0] or price[stage][1] < price[other][1] for other in kept)

    kept: list[ChainStage] = []
    for stage in sorted(filter(None, plain), key=price.__getitem__):
        if undominated(stage, kept):
            kept.append(stage)
    return (*kept, *(stage for stage in filter(None, ways) if undominated(stage, kept)))  # both, for not every neighbour reads these


def interleavable(geometry: ConvGeometry, lanes: int) -> list[int]:
    """Numbers of groups that fill whole vectors together, with the same number of filters each."""
    groups, each = geometry.groups, geometry.filters // geometry.groups
    return [m for m in range(2, min(groups, lanes) + 1) if lanes % m == 0 and groups % m == 0 and each % (lanes // m) == 0]


def _best_tile(
    geometry: ConvGeometry, interleaved: int, link: ConvWorkload, target: CpuTarget, last: bool, whole: bool
) -> ChainStage | None:
    """The cheapest register tile within one row."""
    found = []
    for vectors in range(1, 5):
        for pixels in range(1, min(target.vector_registers, link.output[1]) + 1):
            stage = ChainStage(geometry, pixels, vectors, interleaved=interleaved, table=0 if link.gathered else None)
            # Of a single channel LLVM keeps what several kernel columns read: half of the registers are for that.
            roomy = link.channels > link.geometry.groups or 2 * pixels * vectors < target.vector_registers
            allowed = roomy and fits_registers(pixels, vectors, target) and (stage.spread_evenly(target.lanes) or not last)
            # LLVM keeps what it has spread over the lanes for the next kernel columns, too: with a single vector it runs out of registers.
            if allowed and (interleaved == 1 or vectors > 1) and not (whole and stage.per_set % stage.block(target.lanes)):
                found.append((dense_cycles(link, stage, last, target), -pixels, vectors, stage))
    return min(found, key=lambda option: option[:3])[-1] if found else None


@lru_cache(maxsize=4096)  # likewise, and all points of a chain's space
def dense_cycles(link: ConvWorkload, stage: ChainStage, last: bool, target: CpuTarget) -> float:
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


def line_of_channels(channels: int, target: CpuTarget) -> int:
    """Channels that a chain takes at a time which begins with a depthwise convolution: all of a cache line, in whole vectors."""
    return gcd(channels, max(target.lanes, target.model.line_bytes // 4))


def depthwise_cycles(link: ConvWorkload, pixels: int, vectors: int, target: CpuTarget) -> float:
    """Of one output row, one image; `vectors` of channels, padding included."""
    taps = link.geometry.kernel[0] * link.geometry.kernel[1]  # each loads its input, and every second one a weight
    return ceil(link.output[1] / pixels) * pixels * vectors * (taps * 1.5 / target.model.loads_per_cycle + STORE_CYCLES)


def grouped_cycles(link: ConvWorkload, pixels: int, vectors: int, target: CpuTarget) -> float:
    """Of one output row, one image, where several groups share a vector; `vectors` of channels."""
    products = link.geometry.kernel[0] * link.geometry.kernel[1] * link.channels // link.geometry.groups  # each takes a shuffle
    return ceil(link.output[1] / pixels) * pixels * vectors * (products * (1 / target.model.fma_per_cycle + SHUFFLE_COST) + STORE_CYCLES)


def row_cycles(links: Sequence[ConvWorkload], stages: Sequence[ChainStage], target: CpuTarget) -> list[float]:
    """Of one output row of every stage, all channels, one image."""
    return [depthwise_cycles(link, stage.pixels, ceil(layout.size / target.lanes), target) if link.depthwise
            else dense_cycles(link, stage, stage is stages[-1], target)
            for link, stage, layout in zip(links, stages, layouts(stages, target.lanes), strict=True)]
