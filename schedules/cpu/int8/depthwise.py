"""Depthwise convolution of bytes: memory holds bytes, and registers hold wider numbers.

It is the depthwise convolution in float32, but that bytes are widened as they are read: on x86 to float32, whose sums of so few products
are exact. On Arm their products have 16 bits, and are added in 32 (`depthwise_pairs.py`).
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import prod

import numpy as np
from tvm import te, tirx

from ....targets import CpuTarget
from ....targets.architectures import AARCH64
from ...backend import BoundKernel, Kernel, LayerConstants
from ...shapes import ConvGeometry, ConvWorkload
from ...space import Point, Space, number
from ..conv2d.depthwise import DepthwiseTile, choose_depthwise, depthwise, pack_depthwise
from ..conv2d.terms import depthwise_terms
from ..convolution import depthwise_knobs
from .compute import LEAST, correction
from .depthwise_pairs import pack_pairs, pair_depthwise
from .isa import dot_of

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
        return Space(self.point, (depthwise_knobs(self.convolution, as_vectors(self.target)),))

    def at(self, point: Point) -> ByteDepthwise:
        checked = self.space().check(point, self.workload)
        pixels, rows, vectors = (number(checked, knob) for knob in ("pixels", "rows", "vectors"))
        return replace(self, tile=DepthwiseTile(pixels, rows, vectors, bool(checked["channels_outer"])))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry = layers, self.convolution.geometry
        assert layer.weight is not None
        lanes, zero = as_vectors(self.target).lanes, layer.zero
        if not multiplies_bytes(self.target):
            weight = pack_depthwise(layer.weight.astype(np.float32), lanes)
            return BoundKernel([weight], lambda x, w: byte_depthwise(x, w, geometry, zero, self.tile))
        constants, adds_pairs = [pack_pairs(layer.weight, lanes), correction(layer.weight, zero)], bool((layer.weight > LEAST).all())
        return BoundKernel(constants, lambda x, w, c: pair_depthwise(x, w, c, geometry, zero, self.tile, adds_pairs, lanes))

    def terms(self) -> Mapping[str, float]:
        return depthwise_terms(self.convolution, self.tile, as_vectors(self.target))


def byte_depthwise(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, zero: int, tile: DepthwiseTile) -> te.Tensor:
    """Depthwise convolution of bytes as TE, by multiply-adds of float32.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), bytes.
    weight : te.Tensor
        As `pack_depthwise` makes it, whole numbers as float32.
    geometry : ConvGeometry
        The convolution's attributes.
    zero : int
        The byte that stands for 0.
    tile : DepthwiseTile
        What one task computes.

    Returns
    -------
    te.Tensor
        (N, OH, OW, C), whole numbers as float32.
    """
    nought = tirx.const(float(zero), "float32")
    return depthwise(data, weight, geometry, tile, lambda byte, factor: (byte.astype("float32") - nought) * factor)


def multiplies_bytes(target: CpuTarget) -> bool:
    """Whether products are those of bytes (`depthwise_pairs`), not of float32."""
    return target.architecture is AARCH64


def as_vectors(target: CpuTarget) -> CpuTarget:
    """Return the target with vectors of as many lanes as kernels take at once: on NEON as many as 16 bits' sums of two products have.

    Sums of 32 bits take two registers then. Half of the four instructions for two taps multiply.
    """
    if not multiplies_bytes(target):
        return target
    return replace(target, vector_bits=2 * target.vector_bits, vector_registers=target.vector_registers // 2)


def choose_byte_depthwise(convolution: ConvWorkload, target: CpuTarget) -> ByteDepthwise | None:
    """Return the kernel of a depthwise convolution; None for a kernel so large that a sum may be rounded."""
    if dot_of(target) is None or prod(convolution.geometry.kernel) > MOST_TAPS:
        return None
    return ByteDepthwise(convolution, target, choose_depthwise(convolution, as_vectors(target)))
