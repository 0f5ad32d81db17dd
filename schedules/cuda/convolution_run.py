"""Runs of convolutions as kernels of a GPU: where a run is cut, and the tile of each chain; both are knobs.

    own        one layer, with a kernel of its own      `convolution.py`
    chain      several in one kernel                    `chain/`
    joins      belongs to the chain that was begun before it

Chains are float32 whatever the precision of the target. Where that is another one, layers with kernels of their own may run on tensor
cores, which costs a pass through memory between them: the cheaper of both, by the models of their tiles, is taken.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from tvm import te

from ...targets import GpuTarget
from ...targets.gpu_model import GpuModel
from ..backend import JOINS, BoundKernel, Kernel, LayerConstants, Run, RunPart, kernels_of
from ..shapes import ConvWorkload
from ..space import Knobs, Point, Space
from ..steps import numbered
from ..terms import milliseconds, together
from .chain.compute import ChainStage, ChainTile, chain, pack_stage
from .chain.terms import chain_terms
from .chain.tile import COLUMNS, ROWS, THREADS, allowed, choose_chain, cycles
from .common import VECTOR
from .convolution import choose_convolution, gemm_shape
from .gemm.choice import choose_product

KINDS = ("own", "chain", JOINS)
LONGEST = 4  # layers of a chain


@dataclass(frozen=True)
class ConvolutionRun(Run):
    """A run of convolutions and poolings, each the only reader of the one before."""

    links: tuple[ConvWorkload, ...]
    target: GpuTarget

    @property
    def workload(self) -> str:
        return f"run of {', '.join(map(str, self.links))}"

    @cached_property
    def chosen(self) -> list[int]:
        """How many layers each kernel has, as the model cuts the run: the least cycles of all kernels together."""
        best: list[tuple[float, list[int]]] = [(0.0, [])]
        for end in range(1, len(self.links) + 1):
            ways = []
            for begin in range(max(0, end - LONGEST), end):
                cost = self._cycles(begin, end)
                if cost is not None:
                    ways.append((best[begin][0] + cost + self.target.model.launch_cycles, [*best[begin][1], end - begin]))
            best.append(min(ways))
        return best[-1][1]

    def space(self) -> Space:
        values = {f"layer{i}": KINDS if i else KINDS[:2] for i in range(len(self.links))}
        return Space(point_of(self.chosen), (Knobs(values, self._can),))

    def parts(self, point: Point) -> list[RunPart]:
        return [RunPart(end - begin, self.kernel(begin, end)) for begin, end in kernels_of(point)]

    def between(self, begin: int, end: int) -> ConvolutionRun:
        return ConvolutionRun(self.links[begin:end], self.target)

    def kernel(self, begin: int, end: int) -> Kernel | None:
        """Return the kernel of some layers; None for one that is left as it is."""
        if end - begin == 1:
            return None
        links = self.links[begin:end]
        tile = choose_chain(stages_of(links), links[0].batch, self.target.model)
        assert tile is not None  # `_can`
        return ChainKernel(links, self.target, tile)

    def terms_at(self, point: Point) -> Mapping[str, float]:
        point, kernels, total = self.space().check(point, self.workload), [], 0.0
        for part, (begin, end) in zip(self.parts(point), kernels_of(point), strict=True):
            link = self.links[begin]
            left = part.kernel is None and not (link.pools or link.averages)
            kernels.append(choose_convolution(link, self.target) if left else part.kernel)
            total += (self._cycles(begin, end) or 0.0) + self.target.model.launch_cycles
        compared = all(end - begin <= LONGEST for begin, end in kernels_of(point))
        ms = milliseconds(total, self.target.model.clock_ghz) if compared else None
        return together([kernel.terms() for kernel in kernels if kernel is not None], ms)

    def _can(self, point: Point) -> bool:
        """Whether the run can be cut so."""
        return all((end - begin > 1) == (point[f"layer{begin}"] == "chain") and (end - begin == 1 or self._cycles(begin, end) is not None)
                   for begin, end in kernels_of(point))

    def _cycles(self, begin: int, end: int) -> float | None:
        """Cycles of one kernel for some layers by the model; None where there is none."""
        links, model = self.links[begin:end], self.target.model
        least = traffic_cycles(links, model)
        if len(links) == 1:
            link = links[0]
            if link.pools or link.averages or link.depthwise:
                return least  # what they compute is left out of the comparison: as much whoever does
            product = choose_product(gemm_shape(link), self.target)
            return least if product is None else max(least, product[0])
        if not chainable(links):
            return None
        stages = stages_of(links)
        found = choose_chain(stages, links[0].batch, model)
        return None if found is None else max(least, cycles(stages, links[0].batch, found, model))


@dataclass(frozen=True)
class ChainKernel(Kernel):
    """Convolutions in one kernel."""

    links: tuple[ConvWorkload, ...]
    target: GpuTarget
    tile: ChainTile
    name = "chain"

    @property
    def workload(self) -> str:
        return f"chain of {', '.join(map(str, self.links))}"

    @property
    def point(self) -> Point:
        return asdict(self.tile)

    def space(self) -> Space:
        def can(point: Point) -> bool:
            values: dict[str, Any] = dict(point)
            return allowed(stages_of(self.links), ChainTile(**values), self.target.model)

        return Space(self.point, (Knobs({"rows": ROWS, "columns": COLUMNS, "threads": THREADS}, can),))

    def at(self, point: Point) -> ChainKernel:
        values: dict[str, Any] = self.space().check(point, self.workload)
        return replace(self, tile=ChainTile(**values))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        operands: list[np.ndarray] = []
        stages = list(stages_of(self.links))
        for index, layer in enumerate(layers[: len(stages) - 1]):  # steps behind the last one are fused like those of any layer
            stages[index] = replace(stages[index], steps=numbered(layer.steps, operands))
        weights = [pack_stage(layer.weight, stage) for layer, stage in zip(layers, stages, strict=False) if layer.weight is not None]
        count = len(weights)

        def compute(x: te.Tensor, *constants: te.Tensor) -> te.Tensor:
            return chain(x, constants[:count], constants[count:], stages, self.tile)

        return BoundKernel([*weights, *operands], compute)

    def terms(self) -> Mapping[str, float]:
        return chain_terms(stages_of(self.links), self.links[0].batch, self.tile, self.target.model)


def traffic_cycles(links: Sequence[ConvWorkload], model: GpuModel) -> float:
    """Cycles in which one kernel's input, weights and result pass: those that fill more than half of the second cache through memory."""
    first, last = links[0], links[-1]
    weights = sum(0 if link.pools or link.averages else prod(link.geometry.kernel) * link.channels // link.geometry.groups
                  * link.geometry.filters for link in links)
    sizes = (first.batch * prod(first.size) * first.channels, weights, last.batch * prod(last.output) * last.geometry.filters)
    return sum(4 * size / (model.l2_bytes_per_cycle if 8 * size <= model.l2_bytes else model.memory_bytes_per_cycle) for size in sizes)


def chainable(links: Sequence[ConvWorkload]) -> bool:
    """Whether convolutions can be stages of one kernel: whole vectors of channels in each group, or depthwise; no permutation between.

    The first one reads the image a few channels at a time, for all filters: it has one group.
    """
    def fits(link: ConvWorkload) -> bool:
        geometry = link.geometry
        groups = 1 if link.depthwise else geometry.groups
        whole = not (link.channels // groups % VECTOR or geometry.filters // groups % VECTOR)
        return whole and geometry.upsample == (1, 1) and min(geometry.padding) >= 0 and not (link.pools or link.averages or link.gathered)

    return links[0].geometry.groups == 1 and all(map(fits, links))


def stages_of(links: Sequence[ConvWorkload]) -> tuple[ChainStage, ...]:
    """Return convolutions as stages of a chain, without the steps behind them."""
    return tuple(ChainStage(link.geometry, link.channels, link.output) for link in links)


def point_of(counts: Sequence[int]) -> Point:
    """Name the kind of kernel that each layer of a run begins."""
    kinds = [kind for count in counts for kind in (["own"] if count == 1 else ["chain", *[JOINS] * (count - 1)])]
    return {f"layer{i}": kind for i, kind in enumerate(kinds)}
