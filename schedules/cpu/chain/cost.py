"""What a chain in one kernel costs, by how the rows of its image are cut into tasks and strips: an analytical model."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from ....targets import CpuTarget
from ...shapes import ConvWorkload
from .compute import Cut, Ends, Lines, lines
from .stage import ChainStage, layouts
from .stage_options import line_of_channels, row_cycles

STRIP_CYCLES = 500                # another strip of a task: its loops begin anew, and weights come from L2
PLANES_SHARE = 0.6                # of the L2 cache for the planes of a task
WEIGHTS_SHARE = 0.6               # likewise, for the weights that every task reads, beside a plane


@dataclass(frozen=True)
class Load:
    """What a cut makes of the work.

    Attributes
    ----------
    tasks : int
        Of one image.
    rows : list of int
        Of every stage, that a task computes.
    plane_bytes : float
        Of what a strip has in the caches of a core, beside weights.
    """

    tasks: int
    rows: list[int]
    plane_bytes: float


@dataclass(frozen=True)
class Work:
    """What one kernel does, however the rows of its result are cut."""

    links: Sequence[ConvWorkload]
    stages: Sequence[ChainStage]
    ends: Ends
    target: CpuTarget

    @cached_property
    def per_row(self) -> list[float]:
        """Cycles for a row of each stage."""
        return row_cycles(self.links, self.stages, self.target)

    @cached_property
    def sizes(self) -> list[int]:
        """Channels of each stage's output, as they lie."""
        return [layout.size for layout in layouts(self.stages, self.target.lanes)]

    @cached_property
    def first_chunk(self) -> int:
        """Channels that the first stage makes at a time, for depthwise ones behind it."""
        link, stage = self.links[0], self.stages[0]
        return line_of_channels(link.channels, self.target) if stage.depthwise else stage.block(self.target.lanes)

    @cached_property
    def lean(self) -> bool:
        """All stages are depthwise: so little is done with a number that it should still be in L1. Strips cost nothing."""
        return all(link.depthwise for link in self.links)

    @cached_property
    def blocks(self) -> int:
        """Of channels that are tasks of their own: where all stages behind the first one are depthwise."""
        if all(link.depthwise for link in self.links[1:]) and not _alone_by_rows(self.links, self.ends):
            return max(1, self.links[-1].channels // self.first_chunk)
        return 1

    def cheapest_cut(self) -> tuple[float, Cut]:
        """Return the cycles of the busiest core, and the cut that leaves it the fewest.

        Of cuts with as many cycles, that of the fewest strips is taken. Where strips cost nothing it is that of the fewest rows: what lies
        between stages is then least.
        """
        cost, _, cut = min((self.cost(cut), cut.rows if self.lean else cut.strips, cut) for cut in _cuts(self.links[-1].output[0]))
        return cost, cut

    def load(self, cut: Cut) -> Load:
        """Return what a cut makes of the work."""
        spans = lines([link.geometry for link in self.links], cut.rows)
        tasks = ceil(self.links[-1].output[0] / (cut.rows * cut.strips))
        return Load(tasks, self._task_rows(spans[1:], cut, tasks), self._plane_bytes(spans, cut))

    def cost(self, cut: Cut) -> float:
        """Cycles of the busiest core."""
        links, blocks, target, cpu, load = self.links, self.blocks, self.target, self.target.model, self.load(cut)
        each = sum(rows * cost for rows, cost in zip(load.rows, self.per_row, strict=True)) / blocks
        each += cpu.task_cycles + (cut.strips - 1) * STRIP_CYCLES * (not self.lean)
        too_large = max(0.0, load.plane_bytes - PLANES_SHARE * target.l2_bytes)
        each += 2 * cut.strips * too_large / cpu.l2_round_trip_bytes_per_cycle
        weights = sum(link.weight_bytes for link in links)
        # A kernel for each convolution cuts by filters: a core reads but its part of the weights, once if a task has all rows.
        too_many = weights / blocks > target.l2_bytes if len(links) > 1 else not shares_weights(links[0], target)
        if too_many:
            each += cut.strips * weights / blocks / cpu.l3_round_trip_bytes_per_cycle
        read, tasks = weights / cpu.memory_bytes_per_cycle, load.tasks * links[0].batch
        return ceil(tasks * blocks / target.cores) * each + read + cpu.launch_cycles + remote_cycles(links[0], tasks, target)

    def _task_rows(self, spans: Sequence[Lines], cut: Cut, tasks: int) -> list[int]:
        """Rows of every stage that a task computes, of those that have the most: one in the middle, if there are any."""
        return [max(rows_on_image(span, cut.strips, task, link.output[0]) for task in range(min(tasks, 2)))
                for span, link in zip(spans, self.links, strict=True)]

    def _plane_bytes(self, spans: Sequence[Lines], cut: Cut) -> float:
        """Of what lies in the caches of a core while it computes a strip, beside weights."""
        of_image, *spans = spans
        first, last, ends, chunk = self.links[0], self.links[-1], self.ends, self.first_chunk
        apart = cut.strips == 1 or self.blocks > 1  # a depthwise stage is done with a chunk of channels before the next one is begun
        total = 0.0
        if (ends.source_nchw and not ends.in_place) or (first.depthwise and first.geometry.kernel[0] > 1):  # a copy of its rows
            channels = chunk if first.depthwise and apart else first.channels
            total += 4.0 * _alive(of_image, cut, first.size[0]) * first.size[1] * channels
        total += 4.0 * ends.result_nchw * cut.rows * last.output[1] * last.geometry.filters / self.blocks
        for span, size, link, stage, reader in zip(spans, self.sizes, self.links, self.stages, self.links[1:], strict=False):
            chunk = chunk if stage.depthwise else stage.block(self.target.lanes)
            by_row = reader.depthwise and reader.geometry.kernel[0] == reader.geometry.stride[0] == 1  # made row by row, as it is read
            channels = chunk if reader.depthwise and apart else size
            total += 4 * (1 if by_row else _alive(span, cut, link.output[0])) * link.output[1] * channels
        return total


def _cuts(height: int) -> Iterator[Cut]:
    """All ways to cut an image into tasks of the same number of strips."""
    for rows in range(1, height + 1):
        count = ceil(height / rows)
        yield from (Cut(rows, strips) for strips in range(1, count + 1) if count % strips == 0)


def _alive(span: Lines, cut: Cut, height: int) -> int:
    """Rows of a plane that a strip reads or writes; of the first strip, if it is the only one."""
    return min(span.count if cut.strips == 1 else span.count - span.again + span.kept, height)


def rows_on_image(span: Lines, strips: int, task: int, height: int) -> int:
    """Rows of a stage that a task computes, of those that exist."""
    first = task * strips * span.step - span.before
    return max(0, min(first + span.count + (strips - 1) * (span.count - span.again), height) - max(first, 0))


def shares_weights(link: ConvWorkload, target: CpuTarget) -> bool:
    """Whether every task can read all weights: they are by far slower from the L3 cache than a part of them is from L2."""
    return link.weight_bytes <= WEIGHTS_SHARE * target.l2_bytes


def _alone_by_rows(links: Sequence[ConvWorkload], ends: Ends) -> bool:
    """Whether a convolution of its own is cut by rows, since it reads an image (N, C, H, W); otherwise it is cut by filters."""
    return len(links) == 1 and ends.source_nchw and not links[0].depthwise


def remote_cycles(link: ConvWorkload, cuts: int, target: CpuTarget) -> float:
    """Cycles to fetch from other cores what they wrote of the input: everything but its own part, for a core that reads it all.

    Kernels cut by images or rows, `cuts` of them, give each core what it wrote itself but for the borders.
    """
    if cuts >= target.cores:
        return 0.0
    bytes_ = 4 * link.batch * link.size[0] * link.size[1] * link.channels
    return bytes_ * (1 - 1 / target.cores) / max(1, cuts) / target.model.remote_bytes_per_cycle
