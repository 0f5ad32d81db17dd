"""The kernels of layers of bfloat16: a convolution or a fully connected layer whose sums are float32; depthwise ones, too.

They are the kernels of bytes with two numbers in a step instead of four. Memory holds the upper halves of float32 numbers, as ``uint16``.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from ....targets import CpuTarget
from ...backend import BoundKernel, Kernel, LayerConstants
from ...shapes import ConvShape, ConvWorkload, DenseWorkload
from ...space import Point, Space
from ...tir.dot_products import Dot
from ...tir.pair_products import widened
from ..conv2d.depthwise import DepthwiseTile, choose_depthwise, depthwise, pack_depthwise
from ..conv2d.groups import block_diagonal
from ..conv2d.terms import depthwise_terms
from ..convolution import depthwise_knobs
from ..int8.compute import Operands, dot_conv2d, dot_dense, pack_bytes
from ..int8.isa import pair_dot_of
from ..int8.kernel import ByteConvolution, ByteKernel, byte_shape, choose_byte_tile, dense_shape, merged_groups
from .numbers import from_bfloat16, to_bfloat16

DEPTH = 2  # numbers in a step


def pair_operands(dot: Dot) -> Operands:
    """Numbers of bfloat16, whose sums are float32."""
    return Operands("bfloat16_conv2d", dot, widened)


@dataclass(frozen=True)
class PairConvolution(ByteConvolution):
    """A convolution, some of its groups merged."""

    name = "bfloat16_conv2d"
    algorithm: ClassVar[str] = "pairs"

    @property
    def workload(self) -> str:
        return f"bfloat16 {self.convolution}"

    @property
    def shape(self) -> ConvShape:
        return byte_shape(self.convolution, self.merged, DEPTH)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry = layers, self.convolution.geometry
        assert layer.weight is not None
        groups, weight = geometry.groups // self.merged, to_bfloat16(layer.weight)
        weight = block_diagonal(weight, geometry.groups, self.merged) if self.merged > 1 else weight
        packed, geometry = pack_bytes(weight, groups, self.tile, self.dot), replace(geometry, groups=groups)
        return BoundKernel([packed], lambda x, w: dot_conv2d(x, w, geometry, self.tile, pair_operands(self.dot)))


@dataclass(frozen=True)
class PairDense(ByteKernel):
    """A fully connected layer of several rows: a 1 x 1 convolution whose pixels are its vectors."""

    layer: DenseWorkload
    name = "bfloat16_dense"
    algorithm: ClassVar[str] = "pairs"

    @property
    def workload(self) -> str:
        return f"bfloat16 {self.layer}"

    @property
    def shape(self) -> ConvShape:
        return dense_shape(self.layer, DEPTH)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer] = layers
        assert layer.weight is not None
        packed = pack_bytes(to_bfloat16(layer.weight)[:, :, None, None], 1, self.tile, self.dot)
        return BoundKernel([packed], lambda x, w: dot_dense(x, w, self.layer.filters, self.tile, pair_operands(self.dot)))


@dataclass(frozen=True)
class HalfDepthwise(Kernel):
    """A filter for each channel: numbers are widened as they are read, and products, of float32, are exact."""

    convolution: ConvWorkload
    target: CpuTarget
    tile: DepthwiseTile
    name = "bfloat16_depthwise"

    @property
    def workload(self) -> str:
        return f"bfloat16 {self.convolution}"

    @property
    def point(self) -> Point:
        return {"algorithm": "depthwise", **asdict(self.tile)}

    def space(self) -> Space:
        return Space(self.point, (depthwise_knobs(self.convolution, self.target),))

    def at(self, point: Point) -> HalfDepthwise:
        values: dict[str, Any] = {knob: value for knob, value in self.space().check(point, self.workload).items() if knob != "algorithm"}
        return replace(self, tile=DepthwiseTile(**values))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry = layers, self.convolution.geometry
        assert layer.weight is not None
        weight = pack_depthwise(from_bfloat16(to_bfloat16(layer.weight)), self.target.lanes)
        return BoundKernel([weight], lambda x, w: depthwise(x, w, geometry, self.tile, lambda half, factor: widened(half) * factor))

    def terms(self) -> Mapping[str, float]:
        return depthwise_terms(self.convolution, self.tile, self.target)


def choose_half_convolution(convolution: ConvWorkload, target: CpuTarget) -> Kernel | None:
    """Return the kernel of a convolution; None where the CPU has no instruction for it."""
    dot, geometry = pair_dot_of(target), convolution.geometry
    if dot is None or geometry.upsample != (1, 1):
        return None
    if convolution.depthwise:
        return HalfDepthwise(convolution, target, choose_depthwise(convolution, target))
    merged = merged_groups(convolution, target, DEPTH)
    tile = choose_byte_tile(byte_shape(convolution, merged, DEPTH), target, dot)
    return PairConvolution(target, dot, tile, convolution, merged)


def choose_half_dense(layer: DenseWorkload, target: CpuTarget) -> Kernel | None:
    """Return the kernel of a fully connected layer; None as of a convolution."""
    dot = pair_dot_of(target)
    return None if dot is None else PairDense(target, dot, choose_byte_tile(dense_shape(layer, DEPTH), target, dot), layer)
