"""The kernels of one convolution: direct, depthwise, by Winograd's algorithm, or as a matrix times a vector; which of them, and its knobs.

The first three choose by a model of the machine (`conv2d.cost`, `winograd.cost`). All of them share one space, so that a tuner can take
another algorithm, too.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Any, TypeVar

import numpy as np
from tvm import te

from ...targets import CpuTarget
from ...targets.target import FLOAT32
from ..backend import BoundKernel, Kernel, LayerConstants
from ..shapes import ConvGeometry, ConvWorkload
from ..space import Knobs, Point, Space, number
from ..steps import activated, numbered
from .conv2d.compute import block_weights, conv2d, pack_weights, unfold_blocks
from .conv2d.cost import Tile, choose_tile, fits_registers, lines, one_pointer, widest
from .conv2d.depthwise import DepthwiseTile, blocks_of_vectors, choose_depthwise, depthwise, pack_depthwise, shares_vectors
from .conv2d.groups import block_diagonal, divisors, mergeable
from .conv2d.terms import depthwise_terms, direct_terms, padded_bytes
from .dense.matvec import MOST_STREAMS, Streams, choose_streams, in_memory, matvec, pack_matrix, stored_name
from .dense.terms import matvec_terms
from .winograd.compute import pack_winograd, winograd
from .winograd.cost import Blocking, blockings, choose_winograd
from .winograd.terms import winograd_terms

MOST_VECTORS = 4   # of a register tile
MOST_PIXELS = 8    # of a depthwise tile
ALL_LINES = 0      # as the value of the knob `rows`: a task has all lines

_Kernel = TypeVar("_Kernel", bound=Kernel)


@dataclass(frozen=True)
class ConvolutionKernel(Kernel):
    """What all kernels of a convolution have: the same workload, and the same space."""

    convolution: ConvWorkload
    target: CpuTarget

    @property
    def workload(self) -> str:
        stored = self.target.stored != FLOAT32 and self.convolution.streams_weights
        return f"{self.target.stored} weights, {self.convolution}" if stored else str(self.convolution)

    def space(self) -> Space:
        return convolution_space(self.convolution, self.target)

    def at(self, point: Point) -> Kernel:
        return convolution_at(self.convolution, self.target, self.space().check(point, self.workload))


@dataclass(frozen=True)
class DirectKernel(ConvolutionKernel):
    """The direct convolution, some of its groups merged."""

    merged: int
    tile: Tile
    name = "conv2d"

    @property
    def takes_gate(self) -> bool:
        return self.convolution.geometry.groups == 1 and not self.tile.prefetch

    @property
    def point(self) -> Point:
        count = lines(self.merged_convolution.shape(), self.tile.pixels, self.tile.flat)
        rows = ALL_LINES if self.tile.rows >= count else self.tile.rows
        tile = self.tile
        return {"algorithm": "direct", "merged": self.merged, **_fields(tile), "rows": rows}

    @property
    def merged_convolution(self) -> ConvWorkload:
        """The convolution with the groups that it is computed in."""
        return self.convolution.with_groups(self.convolution.geometry.groups // self.merged)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [weight], geometry = _weights(layers), self.merged_convolution.geometry
        weight = block_diagonal(weight, self.convolution.geometry.groups, self.merged) if self.merged > 1 else weight
        packed = pack_weights(weight, geometry.groups, self.tile, self.target.lanes)
        return BoundKernel([packed], lambda x, w: conv2d(x, w, geometry, self.tile))

    def terms(self) -> Mapping[str, float]:
        return direct_terms(self.merged_convolution.shape(), self.tile, self.target, padded_bytes(self.convolution))


@dataclass(frozen=True)
class BlockKernel(ConvolutionKernel):
    """A transposed convolution whose steps are as long as its kernel: each pixel becomes a block of them, by a pointwise convolution."""

    tile: Tile
    name = "conv2d"

    @property
    def point(self) -> Point:
        return {**self.pointwise.point, "algorithm": "blocks"}

    @property
    def pointwise(self) -> DirectKernel:
        """What computes the blocks, as channels."""
        return DirectKernel(pointwise_blocks(self.convolution), self.target, 1, self.tile)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [weight], kernel = _weights(layers), self.convolution.geometry.kernel
        bound = self.pointwise.bind(LayerConstants(block_weights(weight)))
        return BoundKernel(bound.constants, lambda x, *w: unfold_blocks(bound.compute(x, *w), kernel))

    def terms(self) -> Mapping[str, float]:
        return self.pointwise.terms()


@dataclass(frozen=True)
class WinogradKernel(ConvolutionKernel):
    """A 3 x 3 convolution by Winograd's algorithm; where it pools, the largest of each 2 x 2 pixels."""

    blocking: Blocking
    pooling: ConvWorkload | None = None
    name = "winograd"

    @property
    def workload(self) -> str:
        return f"{self.convolution}, {self.pooling}" if self.pooling is not None else str(self.convolution)

    @property
    def point(self) -> Point:
        return {"algorithm": "winograd", **_fields(self.blocking)}

    def space(self) -> Space:
        if self.pooling is None:
            return super().space()
        return Space(self.point, tuple(_winograd_knobs(self.convolution, self.target)))

    def at(self, point: Point) -> Kernel:
        if self.pooling is None:
            return super().at(point)
        checked = self.space().check(point, self.workload)
        return replace(self, blocking=_blocking(checked))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        weight = _weights(layers[:1])[0]
        groups = self.convolution.geometry.groups
        weight = block_diagonal(weight, groups, groups) if groups > 1 else weight
        packed = pack_winograd(weight, self.blocking, self.target.lanes)
        geometry = replace(self.convolution.geometry, groups=1)
        if self.pooling is None:
            return BoundKernel([packed], lambda x, w: winograd(x, w, geometry, self.blocking))
        operands: list[np.ndarray] = []
        steps = numbered(layers[0].steps, operands)

        def compute(x: te.Tensor, w: te.Tensor, *values: te.Tensor) -> te.Tensor:
            return winograd(x, w, geometry, self.blocking, lambda value, f: activated(value, steps, values, f))

        return BoundKernel([packed, *operands], compute)

    def terms(self) -> Mapping[str, float]:
        return winograd_terms(self.convolution.with_groups(1).shape(), self.blocking, self.target)


@dataclass(frozen=True)
class DepthwiseKernel(ConvolutionKernel):
    """A filter for each channel; or groups, of which a vector holds several, with as many filters as channels."""

    tile: DepthwiseTile

    @property
    def name(self) -> str:
        return "depthwise" if self.convolution.depthwise else "grouped"

    @property
    def point(self) -> Point:
        return {"algorithm": self.name, **_fields(self.tile)}

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [weight] = _weights(layers)
        return BoundKernel([pack_depthwise(weight, self.target.lanes)], lambda x, w: depthwise(x, w, self.convolution.geometry, self.tile))

    def terms(self) -> Mapping[str, float]:
        return depthwise_terms(self.convolution, self.tile, self.target)


@dataclass(frozen=True)
class MatrixVectorKernel(ConvolutionKernel):
    """A kernel as large as the one image: a matrix times a vector."""

    streams: Streams
    name = "matvec"

    @property
    def point(self) -> Point:
        return {"algorithm": "matvec", **_fields(self.streams)}

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [weight], filters, groups = _weights(layers), self.convolution.geometry.filters, self.convolution.geometry.groups
        weight = block_diagonal(weight, groups, groups) if groups > 1 else weight
        packed = in_memory(pack_matrix(weight.transpose(0, 2, 3, 1).reshape(filters, -1), self.streams, self.target.lanes), self.target)
        return BoundKernel([packed], lambda x, w: matvec(x, w, filters, self.streams), stored_name(self.name, [packed], self.target))

    def terms(self) -> Mapping[str, float]:
        height, width = self.convolution.size
        layer = height * width * self.convolution.channels, self.convolution.geometry.filters
        return matvec_terms([layer], [self.streams], self.target)


def pointwise_blocks(convolution: ConvWorkload) -> ConvWorkload:
    """Return the pointwise convolution that computes the blocks of a transposed one."""
    height, width = convolution.geometry.kernel
    return replace(convolution, geometry=ConvGeometry(height * width * convolution.geometry.filters, (1, 1)))


def _makes_blocks(geometry: ConvGeometry) -> bool:
    """Whether the image is taken apart into pixels, each of which a block of the result comes from."""
    height, width = geometry.kernel
    blocks = ConvGeometry(geometry.filters, (height, width), padding=(height - 1, width - 1) * 2, upsample=(height, width))
    return geometry == blocks and height * width > 1


def choose_convolution(convolution: ConvWorkload, target: CpuTarget) -> Kernel:
    """Return the kernel that the models choose."""
    geometry = convolution.geometry
    plain = geometry.upsample == (1, 1)
    merged = mergeable(geometry, convolution.channels, convolution.batch, convolution.size, target) if plain else 1
    if convolution.depthwise and plain:
        return DepthwiseKernel(convolution, target, choose_depthwise(convolution, target))
    if _makes_blocks(geometry):
        return BlockKernel(convolution, target, choose_tile(pointwise_blocks(convolution).shape(), target))
    computed = convolution.with_groups(geometry.groups // merged)
    if computed.streams_weights:
        return MatrixVectorKernel(convolution, target, _streams(computed, target))
    blocking = choose_winograd(computed.shape(), target) if plain else None
    if blocking is not None:
        return WinogradKernel(convolution, target, blocking)
    direct = DirectKernel(convolution, target, merged, choose_tile(computed.shape(), target))
    if shares_vectors(convolution, target):
        grouped = DepthwiseKernel(convolution, target, choose_depthwise(convolution, target))
        return min(direct, grouped, key=lambda kernel: kernel.terms()["ms"])
    return direct


def convolution_at(convolution: ConvWorkload, target: CpuTarget, point: Point) -> Kernel:
    """Return the kernel from a point of the convolution's space."""
    values: dict[str, Any] = {knob: value for knob, value in point.items() if knob != "algorithm"}
    algorithm = point["algorithm"]
    if algorithm in ("depthwise", "grouped"):
        return DepthwiseKernel(convolution, target, DepthwiseTile(**values))
    if algorithm == "matvec":
        return MatrixVectorKernel(convolution, target, Streams(**values))
    if algorithm == "winograd":
        return WinogradKernel(convolution, target, _blocking(point))
    merged = values.pop("merged")
    if algorithm == "blocks":
        pointwise = convolution_at(pointwise_blocks(convolution), target, {**point, "algorithm": "direct"})
        assert isinstance(pointwise, DirectKernel)
        return BlockKernel(convolution, target, pointwise.tile)
    shape = convolution.with_groups(convolution.geometry.groups // merged).shape()
    rows = values["rows"] or lines(shape, values["pixels"], values["flat"])
    return DirectKernel(convolution, target, merged, Tile(**{**values, "rows": rows}))


@lru_cache(maxsize=8)  # each point that is tried asks for it
def convolution_space(convolution: ConvWorkload, target: CpuTarget) -> Space:
    """Return all ways to compute a convolution, the model's first."""
    chosen = choose_convolution(convolution, target).point
    found = [_direct_knobs(convolution, target, chosen)]
    if (convolution.depthwise and convolution.geometry.upsample == (1, 1)) or shares_vectors(convolution, target):
        found.append(depthwise_knobs(convolution, target))
    if convolution.with_groups(1).streams_weights and convolution.geometry.groups in (1, *divisors(convolution.geometry, target.lanes)):
        found.append(stream_knobs(convolution.geometry.filters, target, algorithm="matvec"))
    found += _winograd_knobs(convolution, target)
    if _makes_blocks(convolution.geometry):
        found.append(_direct_knobs(pointwise_blocks(convolution), target, {**chosen, "algorithm": "direct"}, "blocks"))
    return Space(chosen, tuple(found))


def sizes(most: int) -> tuple[int, ...]:
    """Return the sizes up to `most` that are worth a look: 1, 2, 3, 4, 6, 8, 12, ..., and `most` itself."""
    found = {most}
    for exponent in range(most.bit_length()):
        found |= {n for n in (1 << exponent, 3 << exponent) if n <= most}
    return tuple(sorted(found))


def stream_knobs(filters: int, target: CpuTarget, **fixed: str) -> Knobs:
    """Return the knobs of a matrix with `filters` rows times a vector."""
    vectors = ceil(filters / target.lanes)
    values = {knob: (value,) for knob, value in fixed.items()}

    def allowed(point: Point) -> bool:
        together = number(point, "count") * number(point, "vectors")  # vectors of a group; one group alone is no work for several threads
        return together < target.vector_registers and (together < vectors or not point["parallel"])

    return Knobs({**values, "count": range(1, min(MOST_STREAMS, vectors) + 1), "vectors": (1, 2, 4), "parallel": (True, False)}, allowed)


def _direct_knobs(convolution: ConvWorkload, target: CpuTarget, chosen: Point, algorithm: str = "direct") -> Knobs:
    geometry = convolution.geometry
    mergeable_groups = divisors(geometry, target.lanes) if geometry.upsample == (1, 1) and not convolution.depthwise else [1]
    output = convolution.shape()
    most = max(lines(output, 1, flat=True), output.output[0])
    shapes = {merged: convolution.with_groups(geometry.groups // merged).shape() for merged in mergeable_groups}

    def allowed(point: Point) -> bool:
        pixels, vectors, flat, rows = (number(point, knob) for knob in ("pixels", "vectors", "flat", "rows"))
        shape = shapes[number(point, "merged")]
        if not fits_registers(pixels, vectors, target) or pixels > widest(shape, bool(flat), target) or (one_pointer(shape) and not flat):
            return False
        if vectors > max(1, ceil(shape.filters / target.lanes)) or rows >= lines(shape, pixels, bool(flat)):
            return False
        # Weights are asked for ahead by a task that has all lines, and one block after the other.
        return not point["prefetch"] or (rows == ALL_LINES and not point["weights_inner"])

    own = {number(chosen, "rows")} if chosen["algorithm"] == "direct" else set()
    return Knobs({
        "algorithm": (algorithm,),
        "merged": mergeable_groups,
        "pixels": range(1, target.vector_registers),
        "vectors": range(1, MOST_VECTORS + 1),
        "flat": (False, True),
        "rows": sorted({ALL_LINES, *sizes(most), *own}),
        "weights_inner": (False, True),
        "parallel": (True, False),
        "prefetch": (False, True),
    }, allowed)


def depthwise_knobs(convolution: ConvWorkload, target: CpuTarget) -> Knobs:
    """Return the knobs of a depthwise convolution."""
    chosen = choose_depthwise(convolution, target)
    return Knobs({
        "algorithm": ("depthwise" if convolution.depthwise else "grouped",),
        "pixels": range(1, min(MOST_PIXELS, convolution.output[1]) + 1),
        "rows": sorted({*sizes(convolution.output[0]), chosen.rows}),
        "vectors": sorted(blocks_of_vectors(convolution.channels, target)),
        "channels_outer": (False, True),
    })


def _winograd_knobs(convolution: ConvWorkload, target: CpuTarget) -> list[Knobs]:
    """None, or one set: only some combinations of values can be built, so those are listed."""
    geometry = convolution.geometry
    if geometry.upsample != (1, 1) or (geometry.groups > 1 and geometry.groups not in divisors(geometry, target.lanes)):
        return []
    shape = convolution.with_groups(1).shape()
    found = {astuple(b) for b in blockings(shape, target)}
    if not found:
        return []
    names = list(_fields(next(blockings(shape, target))))
    values = {name: sorted({each[i] for each in found}, reverse=name == "parallel") for i, name in enumerate(names)}
    values["parallel"] = [True, False]
    at = names.index("parallel")

    def allowed(point: Point) -> bool:
        wanted = tuple(point[name] for name in names)
        return (*wanted[:at], True, *wanted[at + 1:]) in found

    return [Knobs({"algorithm": ("winograd",), **values}, allowed)]


def _blocking(point: Point) -> Blocking:
    values: dict[str, Any] = {knob: value for knob, value in point.items() if knob != "algorithm"}
    return Blocking(**values)


def _streams(convolution: ConvWorkload, target: CpuTarget) -> Streams:
    height, width = convolution.size
    return choose_streams(height * width * convolution.channels, convolution.geometry.filters, target)


def _weights(layers: tuple[LayerConstants, ...]) -> list[np.ndarray]:
    return [layer.weight for layer in layers if layer.weight is not None]


def _fields(values: Any) -> dict[str, Any]:
    return {name: getattr(values, name) for name in values.__dataclass_fields__}
