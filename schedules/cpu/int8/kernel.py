"""The kernels of layers of bytes: a convolution or a fully connected layer whose sums are exact; which tile, and its knobs."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import prod
from typing import ClassVar, TypeVar

from ....targets import CpuTarget
from ...backend import BoundKernel, Kernel, LayerConstants
from ...shapes import ConvShape, ConvWorkload, DenseWorkload
from ...space import Knobs, Point, Space, Value, number
from ...terms import milliseconds
from ...tir.dot_products import DEPTH, MOST_PRODUCTS, Dot
from ..conv2d.cost import Tile, choose_tile, lines, one_pointer, widest
from ..conv2d.groups import block_diagonal, divisors
from ..conv2d.terms import direct_terms
from ..convolution import ALL_LINES, MOST_VECTORS, WinogradKernel, choose_convolution, sizes
from .compute import correction, for_weight, int8_conv2d, int8_dense, pack_bytes
from .isa import as_float32, depth, dot_of, fits

Built = TypeVar("Built", bound="ByteKernel")


@dataclass(frozen=True)
class ByteKernel(Kernel):
    """What both have: a tile, chosen as that of a layer in float32 with a quarter of the channels."""

    target: CpuTarget
    dot: Dot
    tile: Tile
    algorithm: ClassVar[str] = "bytes"

    @property
    @abstractmethod
    def shape(self) -> ConvShape:
        """The layer as the model of the machine sees it: a step counts as one channel."""

    @property
    def _cpu(self) -> CpuTarget:
        return as_float32(self.target, self.dot)

    @property
    def point(self) -> Point:
        tile, count = self.tile, lines(self.shape, self.tile.pixels, self.tile.flat)
        return {"algorithm": self.algorithm, "pixels": tile.pixels, "vectors": tile.vectors, "flat": tile.flat,
                "rows": ALL_LINES if tile.rows >= count else tile.rows, "weights_inner": tile.weights_inner, "parallel": tile.parallel}

    def space(self) -> Space:
        return _space(self.shape, self._cpu, self.dot, tuple(self.point.items()))

    def at(self: Built, point: Point) -> Built:
        checked = self.space().check(point, self.workload)
        pixels, flat = number(checked, "pixels"), bool(checked["flat"])
        rows = number(checked, "rows") or lines(self.shape, pixels, flat)
        tile = Tile(pixels, number(checked, "vectors"), flat, rows, bool(checked["weights_inner"]), bool(checked["parallel"]))
        return replace(self, tile=tile)

    def terms(self) -> Mapping[str, float]:
        return direct_terms(self.shape, self.tile, self._cpu)


@dataclass(frozen=True)
class ByteConvolution(ByteKernel):
    """A convolution, some of its groups merged."""

    convolution: ConvWorkload
    merged: int = 1
    name = "int8_conv2d"

    @property
    def workload(self) -> str:
        return f"int8 {self.convolution}"

    @property
    def shape(self) -> ConvShape:
        return byte_shape(self.convolution, self.merged)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry = layers, self.convolution.geometry
        assert layer.weight is not None
        groups = geometry.groups // self.merged
        weight = block_diagonal(layer.weight, geometry.groups, self.merged) if self.merged > 1 else layer.weight
        packed = pack_bytes(weight, groups, self.tile, self.dot)
        geometry = replace(geometry, groups=groups)
        constants, dot = [packed, correction(layer.weight, layer.zero)], for_weight(self.dot, layer.weight)
        return BoundKernel(constants, lambda x, w, c: int8_conv2d(x, w, c, geometry, layer.zero, self.tile, dot))


@dataclass(frozen=True)
class ByteDense(ByteKernel):
    """A fully connected layer: a 1 x 1 convolution whose pixels are its vectors."""

    layer: DenseWorkload
    name = "int8_dense"

    @property
    def workload(self) -> str:
        return f"int8 {self.layer}"

    @property
    def shape(self) -> ConvShape:
        return dense_shape(self.layer)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer] = layers
        assert layer.weight is not None
        packed = pack_bytes(layer.weight[:, :, None, None], 1, self.tile, self.dot)
        filters, dot = self.layer.filters, for_weight(self.dot, layer.weight)
        return BoundKernel([packed, correction(layer.weight, layer.zero)], lambda x, w, c: int8_dense(x, w, c, filters, self.tile, dot))


def byte_shape(convolution: ConvWorkload, merged: int, each: int = DEPTH) -> ConvShape:
    """A convolution as the model of the machine sees it."""
    shape = convolution.with_groups(convolution.geometry.groups // merged).shape()
    return replace(shape, channels=depth(shape.channels, each), rows_on_image=1.0)


def dense_shape(layer: DenseWorkload, each: int = DEPTH) -> ConvShape:
    """A fully connected layer as the model of the machine sees it."""
    return ConvShape(1, 1, depth(layer.channels, each), layer.filters, (layer.rows, 1))


def choose_byte_convolution(convolution: ConvWorkload, target: CpuTarget) -> ByteConvolution | None:
    """Return the kernel of a convolution; None where the CPU has no instructions for it, or a sum may leave 32 bits."""
    dot, geometry = dot_of(target), convolution.geometry
    if dot is None or geometry.upsample != (1, 1):
        return None
    per_group = convolution.channels // geometry.groups
    if per_group * prod(geometry.kernel) > MOST_PRODUCTS:
        return None
    merged = merged_groups(convolution, target)
    tile = choose_byte_tile(byte_shape(convolution, merged), target, dot)
    return ByteConvolution(target, dot, tile, convolution, merged)


def quicker_in_float32(convolution: ConvWorkload, target: CpuTarget) -> bool:
    """Whether float32 is quicker by the model: Winograd's algorithm, where the CPU has no instruction for dot products of bytes.

    Its input is written in float32 before, and read again.
    """
    dot, kernel = dot_of(target), choose_convolution(convolution, target)
    own = choose_byte_convolution(convolution, target)
    if dot is None or dot.per_step <= 1 or not isinstance(kernel, WinogradKernel) or own is None:
        return False
    cpu, numbers = target.model, convolution.batch * prod(convolution.size) * convolution.channels
    written = milliseconds(2 * 4 * numbers / cpu.l2_round_trip_bytes_per_cycle / target.cores, cpu.clock_ghz)
    return kernel.terms()["ms"] + written < own.terms()["ms"]


def choose_byte_dense(layer: DenseWorkload, target: CpuTarget) -> ByteDense | None:
    """Return the kernel of a fully connected layer; None as of a convolution."""
    dot = dot_of(target)
    if dot is None or layer.channels > MOST_PRODUCTS:
        return None
    return ByteDense(target, dot, choose_byte_tile(dense_shape(layer), target, dot), layer)


def merged_groups(convolution: ConvWorkload, target: CpuTarget, each: int = DEPTH) -> int:
    """How many groups become one: as many as fill a vector of filters, or the channels of a step."""
    geometry = convolution.geometry
    channels, filters = convolution.channels // geometry.groups, geometry.filters // geometry.groups
    if geometry.groups == 1 or (filters >= target.lanes and channels % each == 0):
        return 1
    return next((m for m in divisors(geometry, target.lanes) if m * filters >= target.lanes and m * channels % each == 0), 1)


def choose_byte_tile(shape: ConvShape, target: CpuTarget, dot: Dot) -> Tile:
    """The tile that the model of the machine takes."""
    cpu = as_float32(target, dot)
    return replace(choose_tile(shape, cpu, partial(fits, target=cpu, dot=dot)), prefetch=False)


@lru_cache(maxsize=8)  # each point that is tried asks for it
def _space(shape: ConvShape, cpu: CpuTarget, dot: Dot, chosen: tuple[tuple[str, Value], ...]) -> Space:
    own = dict(chosen)

    def allowed(point: Point) -> bool:
        pixels, vectors, flat, rows = (number(point, knob) for knob in ("pixels", "vectors", "flat", "rows"))
        if not fits(pixels, vectors, cpu, dot) or pixels > widest(shape, bool(flat), cpu) or (one_pointer(shape) and not flat):
            return False
        return rows < lines(shape, pixels, bool(flat))

    knobs: dict[str, Sequence[Value]] = {
        "algorithm": (own["algorithm"],),
        "pixels": range(1, min(cpu.vector_registers, shape.pixels) + 1),
        "vectors": range(1, min(MOST_VECTORS, max(1, -(-shape.filters // cpu.lanes))) + 1),
        "flat": (False, True),
        "rows": sorted({ALL_LINES, *sizes(max(lines(shape, 1, flat=True), shape.output[0])), number(own, "rows")}),
        "weights_inner": (False, True),
        "parallel": (True, False),
    }
    return Space(own, (Knobs(knobs, allowed),))
