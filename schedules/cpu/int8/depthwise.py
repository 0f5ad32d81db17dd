"""Depthwise convolution of bytes: memory holds bytes, and registers hold wider numbers.

It is the depthwise convolution in float32, but that bytes are widened as they are read: on x86 to float32, whose sums of so few products are
exact, on Arm to 16 bits, whose products are added in 32.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import prod

import numpy as np
from tvm import ir, te, tirx

from ....targets import CpuTarget
from ....targets.architectures import AARCH64
from ...backend import BoundKernel, Kernel, LayerConstants
from ...shapes import ConvGeometry, ConvWorkload
from ...space import Point, Space, number
from ..conv2d.depthwise import DepthwiseTile, choose_depthwise, depthwise, pack_depthwise
from ..conv2d.terms import depthwise_terms
from ..convolution import depthwise_knobs
from .isa import dot_of

FLOAT = "float32"
MOST_TAPS = 2**24 // (255 * 128)  # of which float32 holds every sum


@dataclass(frozen=True)
class ByteDepthwise(Kernel):
    """A filter for each channel."""

    convolution: ConvWorkload
    target: CpuTarget
    tile: DepthwiseTile
    name = "int8_depthwise"

    @property
    def workload(self) -> str:
        return f"int8 {self.convolution}"

    @property
    def point(self) -> Point:
        return {"algorithm": "depthwise", **asdict(self.tile)}

    def space(self) -> Space:
        return Space(self.point, (depthwise_knobs(self.convolution, as_factors(self.target)),))

    def at(self, point: Point) -> ByteDepthwise:
        checked = self.space().check(point, self.workload)
        pixels, rows, vectors = (number(checked, knob) for knob in ("pixels", "rows", "vectors"))
        return replace(self, tile=DepthwiseTile(pixels, rows, vectors, bool(checked["channels_outer"])))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry = layers, self.convolution.geometry
        assert layer.weight is not None
        weight = pack_depthwise(layer.weight.astype(factors_of(self.target)), as_factors(self.target).lanes)
        return BoundKernel([weight], lambda x, w: byte_depthwise(x, w, geometry, layer.zero, self.tile))

    def terms(self) -> Mapping[str, float]:
        return depthwise_terms(self.convolution, self.tile, as_factors(self.target))


def byte_depthwise(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, zero: int, tile: DepthwiseTile) -> te.Tensor:
    """Depthwise convolution of bytes as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), bytes.
    weight : te.Tensor
        As `pack_depthwise` makes it, whole numbers as float32 or int16.
    geometry : ConvGeometry
        The convolution's attributes.
    zero : int
        The byte that stands for 0.
    tile : DepthwiseTile
        What one task computes.

    Returns
    -------
    te.Tensor
        (N, OH, OW, C), whole numbers as float32, or int32.
    """
    factors = str(weight.dtype)

    def multiply(byte: ir.Expr, factor: ir.Expr) -> ir.Expr:
        value = byte.astype(factors) - tirx.const(zero, factors)
        return value * factor if factors == FLOAT else value.astype("int32") * factor.astype("int32")

    return depthwise(data, weight, geometry, tile, multiply)


def factors_of(target: CpuTarget) -> str:
    """The type in which registers hold bytes and weights: NEON adds products of 16 bits in 32 by one instruction (``smlal``)."""
    return "int16" if target.architecture is AARCH64 else FLOAT


def as_factors(target: CpuTarget) -> CpuTarget:
    """Return the target with vectors of as many lanes as one of factors has.

    Sums of 32 bits take several registers then, and as many multiply-adds.
    """
    wider = 32 // np.dtype(factors_of(target)).itemsize // 8
    model = replace(target.model, fma_per_cycle=target.model.fma_per_cycle / wider)
    return replace(target, model=model, vector_bits=target.vector_bits * wider, vector_registers=target.vector_registers // wider)


def choose_byte_depthwise(convolution: ConvWorkload, target: CpuTarget) -> ByteDepthwise | None:
    """Return the kernel of a depthwise convolution; None for a kernel so large that a sum may be rounded."""
    if dot_of(target) is None or prod(convolution.geometry.kernel) > MOST_TAPS:
        return None
    return ByteDepthwise(convolution, target, choose_depthwise(convolution, as_factors(target)))
