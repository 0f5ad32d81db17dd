"""The kernels of one convolution on a GPU: a product of matrices, or sums where the data lies; which of them, and its knobs."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from ...targets import GpuTarget
from ..backend import BoundKernel, Kernel, LayerConstants
from ..shapes import ConvWorkload
from ..space import Knobs, Point, Space
from .common import VECTOR
from .direct.compute import DirectTile, direct_convolution, pack_direct
from .gemm.choice import Tile, choose_product, pack_product, point_of, product_knobs, tile_of
from .gemm.compute import gemm_convolution
from .gemm.terms import product_terms
from .gemm.tile import GemmShape
from .terms import direct_terms

PIXELS, THREADS = (1, 2, 4, 8), (64, 128, 256)  # of the direct convolution
DIRECT = DirectTile(4, 128)


@dataclass(frozen=True)
class ConvolutionKernel(Kernel):
    """What all kernels of a convolution have: the same workload, and the same space."""

    convolution: ConvWorkload
    target: GpuTarget

    @property
    def workload(self) -> str:
        return str(self.convolution)

    def space(self) -> Space:
        return convolution_space(self.convolution, self.target)

    def at(self, point: Point) -> Kernel:
        return convolution_at(self.convolution, self.target, self.space().check(point, self.workload))


@dataclass(frozen=True)
class GemmKernel(ConvolutionKernel):
    """The convolution as a product of matrices."""

    tile: Tile
    name = "conv2d"

    @property
    def point(self) -> Point:
        return point_of(self.tile)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        geometry, tile = self.convolution.geometry, self.tile
        assert layers[0].weight is not None
        packed = pack_product(layers[0].weight, geometry.groups, tile)
        return BoundKernel([packed], lambda x, w: gemm_convolution(x, w, geometry, tile))

    def terms(self) -> Mapping[str, float]:
        return product_terms(gemm_shape(self.convolution), self.tile, self.target.model)


@dataclass(frozen=True)
class DirectKernel(ConvolutionKernel):
    """The convolution as sums where the data lies."""

    tile: DirectTile

    @property
    def name(self) -> str:
        return "depthwise" if self.convolution.depthwise else "conv2d"

    @property
    def point(self) -> Point:
        return {"algorithm": "direct", **asdict(self.tile)}

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        geometry, tile = self.convolution.geometry, self.tile
        assert layers[0].weight is not None
        return BoundKernel([pack_direct(layers[0].weight)], lambda x, w: direct_convolution(x, w, geometry, tile))

    def terms(self) -> Mapping[str, float]:
        return direct_terms(self.convolution, self.tile, self.target.model)


def gemm_shape(convolution: ConvWorkload) -> GemmShape:
    """Return the size of the product that a convolution is."""
    geometry = convolution.geometry
    pixels = convolution.batch * convolution.output[0] * convolution.output[1]
    terms = convolution.channels // geometry.groups * geometry.kernel[0] * geometry.kernel[1]
    together = VECTOR if convolution.channels // geometry.groups % VECTOR == 0 else 1
    return GemmShape(pixels, geometry.filters // geometry.groups, terms, geometry.groups, together)


def choose_convolution(convolution: ConvWorkload, target: GpuTarget) -> Kernel:
    """Return the kernel that the model chooses."""
    found = None if convolution.geometry.groups == convolution.channels > 1 else choose_product(gemm_shape(convolution), target)
    if found is None:
        return DirectKernel(convolution, target, DIRECT)
    return GemmKernel(convolution, target, found[1])


def convolution_at(convolution: ConvWorkload, target: GpuTarget, point: Point) -> Kernel:
    """Return the kernel from a point of the convolution's space."""
    if point["algorithm"] != "direct":
        return GemmKernel(convolution, target, tile_of(point))
    values: dict[str, Any] = {knob: value for knob, value in point.items() if knob != "algorithm"}
    return DirectKernel(convolution, target, DirectTile(**values))


@lru_cache(maxsize=8)  # each point that is tried asks for it
def convolution_space(convolution: ConvWorkload, target: GpuTarget) -> Space:
    """Return all ways to compute a convolution, the model's first."""
    direct = Knobs({"algorithm": ("direct",), "pixels": PIXELS, "threads": THREADS})
    return Space(choose_convolution(convolution, target).point, (*product_knobs(gemm_shape(convolution), target), direct))
