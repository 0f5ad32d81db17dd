"""The kernels of layers of bytes on a GPU: which of them, its tile, and its knobs. The sums of all of them are exact.

    product     on tensor cores: the schedule of the products in TF32, each number a word of four bytes
    direct      where the data lies: depthwise layers, and those that fill no tile
    matvec      a fully connected layer of a few rows
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from tvm import te

from ....targets import GpuTarget
from ....targets.target import INT8
from ...backend import BoundKernel, Kernel, LayerConstants
from ...shapes import ConvWorkload, DenseWorkload
from ...space import Knobs, Point, Space
from ...tir.dot_products import MOST_PRODUCTS
from ..common import VECTOR
from ..convolution import DIRECT, PIXELS, THREADS
from ..direct.compute import DirectTile, direct_convolution, pack_direct
from ..fully_connected import CHOSEN, MOST_VECTORS, warps_for
from ..gemm.choice import point_of, tensor_knobs, tensor_tile_of
from ..gemm.compute import gemm_convolution, gemm_dense, word_channels
from ..gemm.fragments import pack_fragments
from ..gemm.tensor_tile import BYTES, TensorTile, choose_tensor
from ..gemm.terms import product_terms
from ..gemm.tile import GemmShape
from ..matvec import Warps, matvec, pack_rows
from ..terms import direct_terms, matvec_terms
from .compute import corrections, row_corrections

Tile = TensorTile | DirectTile | Warps


@dataclass(frozen=True)
class ByteKernel(Kernel):
    """What both kinds of layers have: the name of the workload, and the way from a point to a kernel."""

    target: GpuTarget
    tile: Tile

    @property
    def point(self) -> Point:
        if isinstance(self.tile, TensorTile):
            return point_of(self.tile)
        return {"algorithm": "direct" if isinstance(self.tile, DirectTile) else "matvec", **asdict(self.tile)}


@dataclass(frozen=True)
class ByteConvolution(ByteKernel):
    """A convolution."""

    convolution: ConvWorkload

    @property
    def name(self) -> str:
        return "int8_depthwise" if self.convolution.depthwise else "int8_conv2d"

    @property
    def workload(self) -> str:
        return f"int8 {self.convolution}"

    def space(self) -> Space:
        direct = Knobs({"algorithm": ("direct",), "pixels": PIXELS, "threads": THREADS})
        tensor = () if grouped_singly(self.convolution) else (tensor_knobs(byte_shape(self.convolution), self.target, INT8),)
        return Space(choose_byte_tile(self.convolution, self.target).point, (*tensor, direct))

    def at(self, point: Point) -> ByteConvolution:
        return ByteConvolution(self.target, tile_at(self.space().check(point, self.workload)), self.convolution)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], geometry, tile = layers, self.convolution.geometry, self.tile
        assert layer.weight is not None
        if isinstance(tile, DirectTile):
            packed = pack_direct(layer.weight)
            return BoundKernel([packed], lambda x, w: direct_convolution(x, w, geometry, tile, layer.zero))
        assert isinstance(tile, TensorTile)
        packed = pack_fragments(layer.weight, geometry.groups, tile)
        return _corrected(packed, layer.zero, corrections(self.convolution, layer.weight, layer.zero),
                          lambda x, w: gemm_convolution(x, w, geometry, tile))

    def terms(self) -> Mapping[str, float]:
        if isinstance(self.tile, DirectTile):
            return direct_terms(self.convolution, self.tile, self.target.model)
        assert isinstance(self.tile, TensorTile)
        return product_terms(byte_shape(self.convolution), self.tile, self.target.model)


@dataclass(frozen=True)
class ByteDense(ByteKernel):
    """A fully connected layer."""

    layer: DenseWorkload
    name = "int8_dense"

    @property
    def workload(self) -> str:
        return f"int8 {self.layer}"

    def space(self) -> Space:
        few_rows = Knobs({"algorithm": ("matvec",), "warps": warps_for(self.layer.filters)})
        chosen = choose_byte_dense(self.layer, self.target)
        assert chosen is not None
        return Space(chosen.point, (few_rows, tensor_knobs(dense_shape(self.layer), self.target, INT8)))

    def at(self, point: Point) -> ByteDense:
        return ByteDense(self.target, tile_at(self.space().check(point, self.workload)), self.layer)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        [layer], tile, filters = layers, self.tile, self.layer.filters
        assert layer.weight is not None
        correction = row_corrections(layer.weight, layer.zero)
        if isinstance(tile, Warps):
            return _corrected(pack_rows(layer.weight, tile), layer.zero, correction, lambda x, w: matvec(x, w, filters, tile))
        assert isinstance(tile, TensorTile)
        packed = pack_fragments(layer.weight[:, :, None, None], 1, tile)
        return _corrected(packed, layer.zero, correction, lambda x, w: gemm_dense(x, w, filters, tile))

    def terms(self) -> Mapping[str, float]:
        if isinstance(self.tile, Warps):
            return matvec_terms(self.layer, self.tile, self.target.model)
        assert isinstance(self.tile, TensorTile)
        return product_terms(dense_shape(self.layer), self.tile, self.target.model)


def choose_byte_convolution(convolution: ConvWorkload, target: GpuTarget) -> ByteConvolution | None:
    """Return the kernel that the model chooses; None where a sum may leave 32 bits, or the input has zeros between its pixels."""
    geometry = convolution.geometry
    products = convolution.channels // geometry.groups * prod(geometry.kernel)
    if products > MOST_PRODUCTS or geometry.upsample != (1, 1):
        return None
    return choose_byte_tile(convolution, target)


def choose_byte_tile(convolution: ConvWorkload, target: GpuTarget) -> ByteConvolution:
    """The kernel of a convolution that has one."""
    single = grouped_singly(convolution)
    found = None if single else choose_tensor(byte_shape(convolution), target.model, INT8)
    return ByteConvolution(target, found or DIRECT, convolution)


def choose_byte_dense(layer: DenseWorkload, target: GpuTarget) -> ByteDense | None:
    """Return the kernel that the model chooses; None where a sum may leave 32 bits."""
    if layer.channels > MOST_PRODUCTS:
        return None
    found = None if layer.rows <= MOST_VECTORS else choose_tensor(dense_shape(layer), target.model, INT8)
    return ByteDense(target, found or Warps(min(CHOSEN, max(warps_for(layer.filters)))), layer)


def grouped_singly(convolution: ConvWorkload) -> bool:
    """Whether each channel is a group of its own: there is no product of matrices then."""
    return convolution.geometry.groups == convolution.channels > 1


def byte_shape(convolution: ConvWorkload) -> GemmShape:
    """The product that a convolution is, its terms in words."""
    geometry = convolution.geometry
    held = word_channels(convolution.channels // geometry.groups)
    words = held // BYTES * prod(geometry.kernel)
    pixels = convolution.batch * prod(convolution.output)
    return GemmShape(pixels, geometry.filters // geometry.groups, words, geometry.groups, together(held))


def dense_shape(layer: DenseWorkload) -> GemmShape:
    """The product that a fully connected layer is, its terms in words."""
    held = word_channels(layer.channels)
    return GemmShape(layer.rows, layer.filters, held // BYTES, together=together(held))


def together(channels: int) -> int:
    """Words of a patch that are copied at once."""
    return VECTOR if channels // BYTES % VECTOR == 0 else 1


def tile_at(point: Point) -> Tile:
    """The tile of a point."""
    if point["algorithm"] == "tensor":
        return tensor_tile_of(point)
    values: dict[str, Any] = {knob: value for knob, value in point.items() if knob != "algorithm"}
    return DirectTile(**values) if point["algorithm"] == "direct" else Warps(**values)


def _corrected(packed: np.ndarray, zero: int, correction: tuple[np.ndarray, Callable[..., te.Tensor]],
               sums: Callable[..., te.Tensor]) -> BoundKernel:
    """A kernel of uncorrected sums with what corrects them, unless the byte 0 stands for 0."""
    if not zero:
        return BoundKernel([packed], sums)
    table, correct = correction
    return BoundKernel([packed, table], lambda x, w, added: correct(sums(x, w), added))
