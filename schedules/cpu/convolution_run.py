"""Runs of convolutions as kernels: where a run is cut, and how each chain is built; both are knobs.

    own        one convolution, with a kernel of its own        `convolution.py`
    pooled     Winograd's algorithm with a max-pooling behind it
    chain      several, or one alone, in one kernel             `chain/`
    joins      belongs to the kernel that was begun before it
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import ceil

import numpy as np
from tvm import te

from ...support.errors import TenfoldError
from ...targets import CpuTarget
from ..backend import JOINS, BoundKernel, Kernel, LayerConstants, Run, RunPart
from ..shapes import ConvWorkload
from ..space import Knobs, Point, Space, Value, number
from ..steps import numbered
from ..terms import milliseconds, together
from .chain.compute import Cut, Ends, chain
from .chain.partition import Segment, compared_alone, segment_as, segments, transposable
from .chain.stage import ChainStage, can_be_wired, layouts, pack_chain
from .chain.stage_options import interleavable
from .chain.terms import chain_terms
from .conv2d.cost import fits_registers
from .conv2d.depthwise_pixels import DEPTHWISE_PIXELS, FEWEST_PIXELS
from .conv2d.groups import block_diagonal, divisors
from .convolution import MOST_VECTORS, WinogradKernel, choose_convolution, sizes

KINDS = ("own", "pooled", "chain", JOINS)


@dataclass(frozen=True)
class ConvolutionRun(Run):
    """A run of convolutions and poolings, each the only reader of the one before.

    Attributes
    ----------
    links : tuple of ConvWorkload
    target : CpuTarget
    wanted : Ends
        How the images at both ends lie, or are wanted.
    """

    links: tuple[ConvWorkload, ...]
    target: CpuTarget
    wanted: Ends
    _priced: dict[tuple[str, int, int], tuple[float, Segment] | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def workload(self) -> str:
        return f"run of {described(self.links, self.wanted)}"

    @cached_property
    def chosen(self) -> list[Segment]:
        """Cut the run as the models have it."""
        return segments(self.links, self.target, self.wanted)

    def space(self) -> Space:
        values = {f"layer{i}": KINDS if i else KINDS[:3] for i in range(len(self.links))}
        return Space(point_of(self.chosen), (Knobs(values, lambda point: self._cut(point) is not None),))

    def parts(self, point: Point) -> list[RunPart]:
        found = self.chosen if point == point_of(self.chosen) else self._cut(point)
        assert found is not None, f"{self.workload}: {point}"
        parts, begin = [], 0
        for segment in found:
            kernel = self._kernel(segment, begin)
            parts.append(RunPart(segment.count) if kernel is None else RunPart(segment.count).of(kernel))
            begin += segment.count
        return parts

    def between(self, begin: int, end: int) -> ConvolutionRun:
        ends = Ends(self.wanted.source_nchw and begin == 0, self.wanted.result_nchw and end == len(self.links))
        return ConvolutionRun(self.links[begin:end], self.target, ends)

    def terms_at(self, point: Point) -> Mapping[str, float]:
        begin, cycles, compared, parts = 0, 0.0, True, []
        for cost, segment in self._kernels(self.space().check(point, self.workload)) or ():
            kernel, link = self._kernel(segment, begin), self.links[begin]
            if kernel is None and not (link.pools or link.averages):
                kernel = choose_convolution(link, self.target)
            parts += [kernel.terms()] if kernel is not None else []
            compared &= segment.count > 1 or not segment.stages or compared_alone(self.links, begin, self.target, self.wanted)
            cycles, begin = cycles + cost, begin + segment.count
        return together(parts, milliseconds(cycles, self.target.model.clock_ghz) if compared else None)

    def _cut(self, point: Point) -> list[Segment] | None:
        priced = self._kernels(point)
        return None if priced is None else [segment for _, segment in priced]

    def _kernels(self, point: Point) -> list[tuple[float, Segment]] | None:
        """The kernels of a cut with their cycles; None where the run can't be cut so."""
        kinds = [str(point[f"layer{i}"]) for i in range(len(self.links))]
        begins = [i for i, kind in enumerate(kinds) if kind != JOINS]
        if not begins or begins[0]:
            return None
        found: list[tuple[float, Segment]] = []
        for begin, end in zip(begins, [*begins[1:], len(kinds)], strict=True):
            key = kinds[begin], begin, end
            if key not in self._priced:  # many cuts have the same kernel
                self._priced[key] = segment_as(kinds[begin], self.links, begin, end, self.target, self.wanted)
            priced = self._priced[key]
            if priced is None:
                return None
            found.append(priced)
        return found

    def _kernel(self, segment: Segment, begin: int) -> Kernel | None:
        """The kernel of a segment that begins at a link; None for one that is left as it is."""
        links = self.links[begin : begin + segment.count]
        if segment.blocking is not None:
            return WinogradKernel(links[0], self.target, segment.blocking, links[1])
        return ChainKernel(links, self.target, segment) if segment.stages else None


@dataclass(frozen=True)
class ChainKernel(Kernel):
    """Convolutions in one kernel; an average behind them may belong to it."""

    links: tuple[ConvWorkload, ...]
    target: CpuTarget
    segment: Segment

    @property
    def name(self) -> str:
        return "chain" if len(self.segment.stages) > 1 else "conv2d"

    @property
    def workload(self) -> str:
        return f"chain of {described(self.links, replace(self.segment.ends, source_nchw=False))}"

    @property
    def takes_gate(self) -> bool:
        first = self.segment.stages[0]
        return self.links[0].geometry.groups == first.geometry.groups == first.interleaved == 1 and not self.links[0].gathered

    @property
    def takes_nchw(self) -> tuple[bool, bool]:
        return self.segment.ends.source_nchw, self.segment.ends.result_nchw

    @property
    def takes_last_steps(self) -> bool:
        """Whether the steps behind the last layer belong to the kernel; otherwise they are fused like those of any convolution."""
        return self.segment.ends.result_nchw or self.segment.averages

    @property
    def point(self) -> Point:
        stages = {f"stage{i}": (s.geometry.groups, s.pixels, s.vectors, s.interleaved) for i, s in enumerate(self.segment.stages)}
        return {**stages, "rows": self.segment.cut.rows, "strips": self.segment.cut.strips, "source": _source(self.segment.ends)}

    def space(self) -> Space:
        return self._space

    @cached_property
    def _space(self) -> Space:
        computed = self._computed
        stages = {f"stage{i}": self._stages(i) for i in range(len(computed))}
        height = computed[-1].output[0]
        own = self.point
        knobs: dict[str, Sequence[Value]] = {
            **stages,
            "rows": sorted({*sizes(height), number(own, "rows")}),
            "strips": sorted({*sizes(height), number(own, "strips")}),
            "source": ("nhwc", "nchw", "in place"),
        }
        return Space(own, (Knobs(knobs, lambda point: self._built(point) is not None),))

    def at(self, point: Point) -> ChainKernel:
        built = self._built(self.space().check(point, self.workload))
        if built is None:
            raise TenfoldError(f"{self.workload} can't be built so")
        return replace(self, segment=built)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        lanes, segment = self.target.lanes, self.segment
        stages: list[ChainStage] = []
        operands: list[np.ndarray] = []
        source, layers = None, layers[: len(segment.stages)]
        for layer, stage, layout in zip(layers, segment.stages, layouts(segment.stages, lanes), strict=True):
            if layer.order is not None:
                operands.append((layer.order if source is None else source.places(layer.order)).astype("int32"))
                stage = replace(stage, table=len(operands) - 1)
            source = layout
            if layer is not layers[-1]:
                stage = replace(stage, steps=numbered(layer.steps, operands, layout.spread))
            elif self.takes_last_steps:
                own = layout if segment.averages and stage.adds_up_in_own_order else None
                stage = replace(stage, steps=numbered(layer.steps, operands, None if own is None else own.spread))
            stages.append(stage)
        merged = [_merged(layer.weight, link, stage) for layer, link, stage in zip(layers, self.links, stages, strict=False)]
        weights = pack_chain(merged, stages, lanes)
        count = len(weights)

        def compute(x: te.Tensor, *constants: te.Tensor) -> te.Tensor:
            return chain(x, constants[:count], constants[count:], stages, segment.cut, lanes, segment.ends, segment.averages)

        return BoundKernel([*weights, *operands], compute)

    def terms(self) -> Mapping[str, float]:
        return chain_terms(self._computed, self.segment.stages, self.segment.cut, self.segment.ends, self.target)

    @property
    def _computed(self) -> tuple[ConvWorkload, ...]:
        """Of the links those that are stages."""
        return self.links[: len(self.segment.stages)]

    def _stages(self, index: int) -> list[tuple[int, ...]]:
        """All values of the knob of one stage: groups, pixels, vectors, interleaved groups."""
        link, target, own = self._computed[index], self.target, self.point[f"stage{index}"]
        assert isinstance(own, tuple)
        found: list[tuple[int, ...]]
        if link.depthwise:
            found = [(link.geometry.groups, pixels, 0, 1) for pixels in sorted({FEWEST_PIXELS, *DEPTHWISE_PIXELS, own[1]})]
        else:
            ways = [(link.geometry.groups // merged, 1) for merged in divisors(link.geometry, target.lanes)]
            ways += [(link.geometry.groups, m) for m in interleavable(link.geometry, target.lanes) if not link.gathered]
            found = [(groups, pixels, vectors, m) for groups, m in ways for vectors in range(1, MOST_VECTORS + 1)
                     for pixels in range(1, min(target.vector_registers, link.output[1]) + 1)
                     if fits_registers(pixels, vectors, target) and (m == 1 or vectors > 1)]
        return found if own in found else [*found, own]

    def _built(self, point: Point) -> Segment | None:
        """The segment at a point; None where its stages don't fit each other, or its rows can't be cut so."""
        lanes, links = self.target.lanes, self._computed
        rows, strips = number(point, "rows"), number(point, "strips")
        if ceil(links[-1].output[0] / rows) % strips:
            return None
        stages = []
        for i, stage in enumerate(self.segment.stages):
            value = point[f"stage{i}"]
            assert isinstance(value, tuple)
            stages.append(_stage_as(stage, value))
        last = max((i for i, link in enumerate(links) if not link.depthwise), default=-1)
        if links[-1].depthwise and last >= 0 and stages[last].per_set % stages[last].block(lanes):
            return None
        if not stages[-1].depthwise and not stages[-1].spread_evenly(lanes):
            return None
        if not can_be_wired(stages, links[0].channels, lanes):
            return None
        wanted = replace(self.segment.ends, source_nchw=self.segment.ends.source_nchw or self.segment.ends.in_place, in_place=False)
        possible = {_source(end): end for end in (transposable(links, stages, wanted, self.target), replace(wanted, source_nchw=False))}
        ends = possible.get(str(point["source"]))
        return None if ends is None else replace(self.segment, cut=Cut(rows, strips), stages=tuple(stages), ends=ends)


@lru_cache(maxsize=1024)
def _stage_as(stage: ChainStage, value: tuple[int, ...]) -> ChainStage:
    """A stage at a value of its knob."""
    groups, pixels, vectors, interleaved = value
    return replace(stage, geometry=replace(stage.geometry, groups=groups), pixels=pixels, vectors=vectors, interleaved=interleaved)


def described(links: Sequence[ConvWorkload], ends: Ends) -> str:
    """Name a sequence of links and the layouts at its ends."""
    return ", ".join(map(str, links)) + ", from NCHW" * ends.source_nchw + ", to NCHW" * ends.result_nchw


def point_of(segments: Sequence[Segment]) -> Point:
    """Name the kind of kernel that each link of a run begins."""
    kinds: list[str] = []
    for segment in segments:
        kind = "pooled" if segment.blocking is not None else "chain" if segment.stages else "own"
        kinds += [kind, *[JOINS] * (segment.count - 1)]
    return {f"layer{i}": kind for i, kind in enumerate(kinds)}


def _merged(weight: np.ndarray | None, link: ConvWorkload, stage: ChainStage) -> np.ndarray | None:
    """A weight for the groups that a stage has."""
    return None if weight is None else block_diagonal(weight, link.geometry.groups, link.geometry.groups // stage.geometry.groups)


def _source(ends: Ends) -> str:
    return "in place" if ends.in_place else "nchw" if ends.source_nchw else "nhwc"
