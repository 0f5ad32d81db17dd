"""Which convolutions that follow each other become one kernel: an analytical model over their shapes and the target.

A kernel of its own pays for waking the threads, for a round trip of its output through the caches, and for a padded copy of its input.
A chain, of a single convolution too, leaves padding out, and pays for rows at the borders of its tasks that are computed twice. The
cheapest way to cut a sequence into kernels is found exactly, by dynamic programming.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod

from ....targets import CpuTarget
from ...shapes import ConvGeometry, ConvWorkload
from ..conv2d.cost import STORE_CYCLES, choose_tile, cycles, from_memory
from ..conv2d.depthwise import choose_depthwise, shares_vectors
from ..conv2d.depthwise_pixels import depthwise_pixels
from ..conv2d.groups import mergeable
from ..winograd.compute import POOL
from ..winograd.cost import Blocking, choose_winograd, direct_cycles, winograd_cycles
from .compute import CHANNELS_LAST, Cut, Ends
from .cost import Work, remote_cycles, shares_weights
from .stage import ChainStage, can_be_wired
from .stage_options import depthwise_cycles, grouped_cycles, row_cycles, stage_options

IMAGE_SHARE = 0.25        # of the L2 caches or the L3 cache, for an image between kernels: what is read before lies there too
MOST_LINES_OF_A_SET = 6   # times as many as it holds: in 12 ways, 64 are 10 % faster than transposed, 128 5 to 12 % slower
MOST_WAYS = 200           # to compute the stages of a chain that are compared


@dataclass(frozen=True)
class Segment:
    """`count` convolutions in one kernel, whose result's rows are cut as `cut` says; one that is left as it is has neither rows nor stages.

    `ends` says which of the images that lie as (N, C, H, W) the kernel takes so. Where it `averages`, that is the last of `count`, and no
    stage. `blocking` is that of a Winograd convolution with the max-pooling behind it.
    """

    count: int
    cut: Cut = Cut(0)
    stages: tuple[ChainStage, ...] = ()
    ends: Ends = CHANNELS_LAST
    averages: bool = False
    blocking: Blocking | None = None


def segments(links: Sequence[ConvWorkload], target: CpuTarget, ends: Ends = CHANNELS_LAST) -> list[Segment]:
    """The cheapest cut of a sequence into kernels, whose image comes, or is wanted, as (N, C, H, W) where `ends` says so."""
    best: list[tuple[float, list[Segment]]] = [(0.0, [])]
    for end in range(1, len(links) + 1):
        options = []
        for begin in range(end):
            own, part = _own_ends(links, begin, end, ends), links[begin:end]
            kinds = [_single(part[0], target)] if len(part) == 1 else _pooled(part, target)
            if len(part) > 1 or _alone(part[0], own, target):
                kinds += _chained(part, target, own)
            options += [(best[begin][0] + cost + _permutes(part, own, segment.ends, target), [*best[begin][1], segment])
                        for cost, segment in kinds]
        best.append(min(options, key=lambda option: option[0]))
    return best[-1][1]


def segment_as(
    kind: str, links: Sequence[ConvWorkload], begin: int, end: int, target: CpuTarget, ends: Ends
) -> tuple[float, Segment] | None:
    """Return links `begin` to `end` as one kernel of a kind, the best of its kind, with its cycles; None where that can't be.

    Parameters
    ----------
    kind : str
        ``own``: one link by itself; ``pooled``: Winograd's algorithm and a pooling; ``chain``.
    links : sequence of ConvWorkload
        The whole sequence.
    begin, end : int
    target : CpuTarget
    ends : Ends
        Of the whole sequence.
    """
    own, part = _own_ends(links, begin, end, ends), links[begin:end]
    if kind == "own":
        found = [_single(part[0], target)] if len(part) == 1 else []
    else:
        found = _pooled(part, target) if kind == "pooled" else _chained(part, target, own)
    priced = [(cost + _permutes(part, own, segment.ends, target), segment) for cost, segment in found]
    best = min(priced, key=lambda option: option[0], default=None)
    return None if best is None or best[0] == float("inf") else best


def compared_alone(links: Sequence[ConvWorkload], begin: int, target: CpuTarget, ends: Ends) -> bool:
    """Whether a chain of one link of a sequence is compared with a kernel of its own: elsewhere its price is too low."""
    return _alone(links[begin], _own_ends(links, begin, begin + 1, ends), target)


def _own_ends(links: Sequence[ConvWorkload], begin: int, end: int, ends: Ends) -> Ends:
    """Which ends of a whole sequence are those of a part of it."""
    return Ends(ends.source_nchw and begin == 0, ends.result_nchw and end == len(links))


def _chained(links: Sequence[ConvWorkload], target: CpuTarget, own: Ends) -> list[tuple[float, Segment]]:
    """A chain of all links that takes the ends as they lie, and one that gets its image channels-last."""
    return [_fused(links, target, done) for done in dict.fromkeys((own, replace(own, source_nchw=False)))]


def _alone(link: ConvWorkload, ends: Ends, target: CpuTarget) -> bool:
    """Whether a chain of this convolution alone can be better, since it spares a copy or a gather.

    Its kernel columns are unrolled. A loop over fewer channels than a vector has lanes repays that only if no kernel transposes the image
    before.
    """
    if link.gathered:
        return not link.depthwise
    copied = any(link.geometry.padding) or ends != CHANNELS_LAST
    if ends.source_nchw and link.channels < target.lanes:
        return not link.depthwise
    return copied and not link.depthwise and link.channels // link.geometry.groups >= target.lanes


def _permutes(links: Sequence[ConvWorkload], wanted: Ends, done: Ends, target: CpuTarget) -> float:
    """Cycles of the kernels that bring images from (N, C, H, W) and back, where the chain does not do it itself."""
    first, last = links[0], links[-1]
    source, result = first.size[0] * first.size[1] * first.channels, last.output[0] * last.output[1] * last.geometry.filters
    sizes = [source] * (wanted.source_nchw and not done.source_nchw) + [result] * (wanted.result_nchw and not done.result_nchw)
    return sum(target.model.launch_cycles + _there_and_back(4 * first.batch * size, target) for size in sizes)


def transposable(links: Sequence[ConvWorkload], stages: Sequence[ChainStage], wanted: Ends, target: CpuTarget) -> Ends:
    """Return those of the wanted ends that a chain can take as they lie.

    It can take its source if it reads it number by number, or can transpose it: there are vectors of channels and of columns, and no two
    tasks want the same rows.
    """
    if wanted.source_nchw and _read_in_place(links[0], stages, target):
        return replace(wanted, in_place=True)
    by_channels = not stages[0].depthwise and all(stage.depthwise for stage in stages[1:])
    if len(stages) == 1:
        by_channels = by_channels and not _repays_rows(links[0], target)
    whole_vectors = min(links[0].channels, links[0].size[1]) >= target.lanes
    return Ends(wanted.source_nchw and whole_vectors and not by_channels, wanted.result_nchw)


def _read_in_place(link: ConvWorkload, stages: Sequence[ChainStage], target: CpuTarget) -> bool:
    """Whether a convolution that is not depthwise reads an image (N, C, H, W) as it lies.

    Lines of all channels are read side by side. They must not lie as far apart as the places that share a set of the L1 cache. Where they
    are read again for every block of filters, they must not lie in more pages than have an address at hand. By itself it is cut by rows
    then.
    """
    alone, channel_bytes, cpu = len(stages) == 1, 4 * link.size[0] * link.size[1], target.model
    sets = Counter(channel * channel_bytes % cpu.way_bytes // cpu.line_bytes for channel in range(link.channels))
    crowded = max(sets.values()) > MOST_LINES_OF_A_SET * target.l1_bytes / cpu.way_bytes
    far = link.channels * min(1.0, channel_bytes / cpu.page_bytes) > cpu.tlb_pages and stages[0].blocks(target.lanes) > 1
    if alone and link.geometry.kernel != (1, 1):
        far = False  # no kernel of its own transposes an image for several rows, and one before it takes longer
    return not (link.depthwise or crowded or far) and (not alone or shares_weights(link, target))


def _single(link: ConvWorkload, target: CpuTarget) -> tuple[float, Segment]:
    """Cycles of a kernel of its own, and of its output's way to the next."""
    return _own_kernel(link, target) + _round_trip(link, target), Segment(1)


def _pooled(links: Sequence[ConvWorkload], target: CpuTarget) -> list[tuple[float, Segment]]:
    """Likewise of a Winograd convolution that keeps the largest of each 2 x 2 pixels, if that is what two links are."""
    if len(links) != 2 or not links[1].pools or links[0].gathered or links[0].geometry.groups > 1:
        return []
    plain = links[0].geometry.dilation == (1, 1) == links[0].geometry.upsample
    whole = all(size % POOL == 0 for size in links[0].output)
    if not plain or not whole or links[1].geometry != ConvGeometry(links[1].channels, (POOL, POOL), (POOL, POOL), groups=links[1].channels):
        return []
    blocking = choose_winograd(links[0].shape(), target)
    if blocking is None:
        return []
    return [(_own_kernel(links[0], target) + _round_trip(links[1], target), Segment(2, blocking=blocking))]


def _grouped(link: ConvWorkload, target: CpuTarget) -> float:
    """Cycles of a core for a convolution whose groups share vectors."""
    tile = choose_depthwise(link, target)
    return link.batch * link.output[0] * grouped_cycles(link, tile.pixels, ceil(link.channels / target.lanes), target)


def _direct(link: ConvWorkload, target: CpuTarget) -> float:
    """Cycles of a core for the direct convolution, some of its groups merged."""
    merged = mergeable(link.geometry, link.channels, link.batch, link.size, target)
    shape = link.with_groups(link.geometry.groups // merged).shape()
    tile = choose_tile(shape, target)
    return cycles(shape, tile.pixels, tile.vectors, tile.flat, target)


def _own_kernel(link: ConvWorkload, target: CpuTarget) -> float:
    """Cycles of a kernel of its own."""
    work: float
    remote, read, cpu = 0.0, 0.0, target.model
    if link.averages:
        work = link.batch * link.size[0] * link.size[1] * ceil(link.channels / target.lanes) * STORE_CYCLES
    elif link.depthwise:  # or pooling
        row = depthwise_cycles(link, depthwise_pixels(link, target), ceil(link.channels / target.lanes), target)
        work = link.batch * link.output[0] * row
    elif shares_vectors(link, target) and _grouped(link, target) < _direct(link, target):
        work = _grouped(link, target)
    else:
        merged = mergeable(link.geometry, link.channels, link.batch, link.size, target)
        link = replace(link, geometry=replace(link.geometry, groups=link.geometry.groups // merged))
        tile = choose_tile(link.shape(), target)
        work = cycles(link.shape(), tile.pixels, tile.vectors, tile.flat, target)
        remote = remote_cycles(link, target.cores if tile.weights_inner else link.batch, target)
        blocking = choose_winograd(link.shape(), target) if link.geometry.upsample == (1, 1) else None
        if blocking is not None:
            work *= winograd_cycles(link.shape(), blocking, target) / direct_cycles(link.shape(), target)
        else:
            read = from_memory(work / target.cores, link.shape(), tile, target) - work / target.cores
        if blocking is None and any(link.geometry.padding):
            remote += cpu.launch_cycles + _padded_bytes(link) * 2 / cpu.l2_round_trip_bytes_per_cycle / target.cores
    if link.gathered:
        remote += cpu.launch_cycles + _there_and_back(4 * link.batch * link.size[0] * link.size[1] * link.channels, target)
    return work / target.cores + read + cpu.launch_cycles + remote


def _padded_bytes(link: ConvWorkload) -> int:
    """Of the copy of its input with zeros around it."""
    top, left, bottom, right = link.geometry.padding
    return 4 * link.batch * (link.size[0] + top + bottom) * (link.size[1] + left + right) * link.channels


def _round_trip(link: ConvWorkload, target: CpuTarget) -> float:
    """Cycles to write the output of a kernel, and to read it in the next, spread over the cores."""
    return _there_and_back(4 * link.batch * link.output[0] * link.output[1] * link.geometry.filters, target)


def _there_and_back(bytes_: int, target: CpuTarget) -> float:
    """Cycles to write so much, and to read it again, in the nearest caches that hold it."""
    cpu = target.model
    rate = cpu.memory_round_trip_bytes_per_cycle
    if bytes_ <= IMAGE_SHARE * target.l2_bytes * target.cores:
        rate = cpu.l2_round_trip_bytes_per_cycle
    elif bytes_ <= IMAGE_SHARE * target.l3_bytes:
        rate = cpu.l3_round_trip_bytes_per_cycle
    return 2 * bytes_ / rate / target.cores


def fused_stages(links: Sequence[ConvWorkload], target: CpuTarget) -> tuple[ChainStage, ...] | None:
    """The links as stages of one kernel, the cheapest that fit each other; None where that can't be."""
    if any(p < 0 for link in links for p in link.geometry.padding) or any(link.geometry.upsample != (1, 1) for link in links):
        return None
    if links[0].depthwise and links[0].channels % target.lanes or any(link.streams_weights or not link.meets_image for link in links):
        return None
    if links[0].pools or any(link.averages or link.gathered and link.depthwise for link in links):
        return None
    last_dense = max((i for i, link in enumerate(links) if not link.depthwise), default=-1)
    whole = last_dense if links[-1].depthwise else -1
    options = [list(stage_options(link, target, i + 1 == len(links), i == whole)) for i, link in enumerate(links)]

    def work(stages: tuple[ChainStage, ...]) -> float:
        return sum(link.output[0] * row for link, row in zip(links, row_cycles(links, stages, target), strict=True))

    while prod(len(found) for found in options) > MOST_WAYS:
        max(options, key=len).pop()
    ways = sorted(product(*options), key=work)
    return next((stages for stages in ways if can_be_wired(stages, links[0].channels, target.lanes)), None)


def _fused(links: Sequence[ConvWorkload], target: CpuTarget, wanted: Ends) -> tuple[float, Segment]:
    """Cycles of one kernel for all of them, its rows cut in the best way; infinite where that can't be."""
    if links[-1].averages and len(links) > 1:
        cost, segment = _fused(links[:-1], target, wanted)
        return cost - _round_trip(links[-2], target), replace(segment, count=len(links), averages=True)
    stages = fused_stages(links, target)
    if stages is None:
        return float("inf"), Segment(len(links))
    ends = transposable(links, stages, wanted, target)
    cost, cut = Work(links, stages, ends, target).cheapest_cut()
    return cost + _round_trip(links[-1], target), Segment(len(links), cut, stages, ends)


def _repays_rows(link: ConvWorkload, target: CpuTarget) -> bool:
    """Whether a convolution of its own that transposes its image can be cut by rows.

    In a kernel of several rows, two tasks would transpose those at their border.
    """
    return link.geometry.kernel == (1, 1) and shares_weights(link, target)
