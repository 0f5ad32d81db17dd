"""The kernels of one fully connected layer on a GPU: a matrix times a few vectors, or a product of matrices."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...targets import GpuTarget
from ..backend import BoundKernel, Kernel, LayerConstants
from ..shapes import DenseWorkload
from ..space import Knobs, Point, Space
from .common import VECTOR
from .gemm.choice import Tile, choose_product, pack_product, point_of, product_knobs, tile_of
from .gemm.compute import gemm_dense
from .gemm.terms import product_terms
from .gemm.tile import GemmShape
from .matvec import Warps, matvec, pack_rows
from .terms import matvec_terms

WARPS = (1, 2, 4, 8)
CHOSEN = 4  # warps, where there are so many results
MOST_VECTORS = 4  # rows of the data, up to which the weights are read again for each of them


@dataclass(frozen=True)
class DenseKernel(Kernel):
    """What all kernels of a fully connected layer have."""

    layer: DenseWorkload
    target: GpuTarget
    name = "dense"

    @property
    def workload(self) -> str:
        return str(self.layer)

    def space(self) -> Space:
        return dense_space(self.layer, self.target)

    def at(self, point: Point) -> Kernel:
        return dense_at(self.layer, self.target, self.space().check(point, self.workload))


@dataclass(frozen=True)
class ProductKernel(DenseKernel):
    """A product of matrices."""

    tile: Tile

    @property
    def point(self) -> Point:
        return point_of(self.tile)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        assert layers[0].weight is not None
        packed = pack_product(layers[0].weight[:, :, None, None], 1, self.tile)
        return BoundKernel([packed], lambda x, w: gemm_dense(x, w, self.layer.filters, self.tile))

    def terms(self) -> Mapping[str, float]:
        return product_terms(_shape(self.layer), self.tile, self.target.model)


@dataclass(frozen=True)
class VectorKernel(DenseKernel):
    """A matrix times a few vectors."""

    tile: Warps

    @property
    def point(self) -> Point:
        return {"algorithm": "matvec", **asdict(self.tile)}

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        assert layers[0].weight is not None
        return BoundKernel([pack_rows(layers[0].weight, self.tile)], lambda x, w: matvec(x, w, self.layer.filters, self.tile))

    def terms(self) -> Mapping[str, float]:
        return matvec_terms(self.layer, self.tile, self.target.model)


def choose_dense(layer: DenseWorkload, target: GpuTarget) -> Kernel:
    """Return the kernel that the model chooses."""
    found = None if layer.rows <= MOST_VECTORS else choose_product(_shape(layer), target)
    if found is None:
        return VectorKernel(layer, target, Warps(min(CHOSEN, max(warps_for(layer.filters)))))
    return ProductKernel(layer, target, found[1])


def warps_for(filters: int) -> tuple[int, ...]:
    """The warps that a block of vector products can have: not more than there are results."""
    return tuple(warps for warps in WARPS if warps <= filters)


def dense_at(layer: DenseWorkload, target: GpuTarget, point: Point) -> Kernel:
    """Return the kernel from a point of the layer's space."""
    if point["algorithm"] != "matvec":
        return ProductKernel(layer, target, tile_of(point))
    values: dict[str, Any] = {knob: value for knob, value in point.items() if knob != "algorithm"}
    return VectorKernel(layer, target, Warps(**values))


def dense_space(layer: DenseWorkload, target: GpuTarget) -> Space:
    """Return all ways to compute a fully connected layer, the model's first."""
    few_rows = Knobs({"algorithm": ("matvec",), "warps": warps_for(layer.filters)})
    return Space(choose_dense(layer, target).point, (few_rows, *product_knobs(_shape(layer), target)))


def _shape(layer: DenseWorkload) -> GemmShape:
    return GemmShape(layer.rows, layer.filters, layer.channels, together=VECTOR if layer.channels % VECTOR == 0 else 1)
