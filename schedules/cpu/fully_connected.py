"""The kernels of fully connected layers: a matrix times many vectors, one vector, or one vector through several layers."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import te

from ...targets import CpuTarget
from ...targets.target import FLOAT32
from ..backend import BoundKernel, Kernel, LayerConstants
from ..operators import has_operand
from ..shapes import ConvShape, DenseWorkload
from ..space import Knobs, Point, Space, number
from .conv2d.compute import dense, pack_weights
from .conv2d.cost import Tile, choose_tile, fits_registers
from .conv2d.terms import direct_terms
from .convolution import ALL_LINES, MOST_VECTORS, sizes, stream_knobs
from .dense.averaged import average, parts_of
from .dense.matvec import Streams, choose_streams, in_memory, matvec, pack_matrix, stored_name
from .dense.matvec_chain import DenseStage, choose_chain, matvec_chain, stored_outputs
from .dense.terms import matvec_terms


@dataclass(frozen=True)
class DenseKernel(Kernel):
    """A matrix times many vectors: a 1 x 1 convolution whose pixels are the vectors."""

    layer: DenseWorkload
    target: CpuTarget
    tile: Tile
    name = "dense"

    @property
    def workload(self) -> str:
        return str(self.layer)

    @property
    def _count(self) -> int:
        return -(-self.layer.rows // self.tile.pixels)

    @property
    def point(self) -> Point:
        tile = self.tile
        return {"pixels": tile.pixels, "vectors": tile.vectors, "rows": ALL_LINES if tile.rows >= self._count else tile.rows,
                "weights_inner": tile.weights_inner, "parallel": tile.parallel, "prefetch": tile.prefetch}

    @property
    def packing(self) -> tuple[str, Point] | None:
        # Only a weight that is most of what the kernel reads and writes is worth another tile, which the model may price too low: on a
        # Zen 5 the kernel for 16 rows of 2304 took 11 % longer where the model said 1 % less, 0.2 % of its network.
        rows, channels, filters = self.layer.rows, self.layer.channels, self.layer.filters
        if channels * filters < rows * (channels + filters):
            return None
        return f"dense {channels} filters {filters}", {"vectors": self.tile.vectors}

    def packed_as(self, knobs: Point) -> Iterator[Point]:
        """Any number of pixels in a register tile."""
        space = self.space()
        for pixels in range(1, self.target.vector_registers):
            point = {**self.point, **knobs, "pixels": pixels}
            if point in space:
                yield point

    def space(self) -> Space:
        layer, target, own = self.layer, self.target, self.point

        def allowed(point: Point) -> bool:
            pixels, vectors, rows = (number(point, knob) for knob in ("pixels", "vectors", "rows"))
            if not fits_registers(pixels, vectors, target) or rows >= -(-layer.rows // pixels):
                return False
            return not point["prefetch"] or (rows == ALL_LINES and not point["weights_inner"])

        knobs = {
            "pixels": range(1, min(target.vector_registers, layer.rows) + 1),
            "vectors": range(1, min(MOST_VECTORS, max(1, -(-layer.filters // target.lanes))) + 1),
            "rows": sorted({ALL_LINES, *sizes(layer.rows), number(own, "rows")}),
            "weights_inner": (False, True),
            "parallel": (True, False),
            "prefetch": (False, True),
        }
        return Space(own, (Knobs(knobs, allowed),))

    def at(self, point: Point) -> DenseKernel:
        checked = self.space().check(point, self.workload)
        pixels = number(checked, "pixels")
        rows = number(checked, "rows") or -(-self.layer.rows // pixels)
        tile = Tile(pixels, number(checked, "vectors"), True, rows, *(bool(checked[k]) for k in ("weights_inner", "parallel", "prefetch")))
        return replace(self, tile=tile)

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        weight = layers[0].weight
        assert weight is not None
        packed = pack_weights(weight[:, :, None, None], 1, self.tile, self.target.lanes)
        return BoundKernel([packed], lambda x, w: dense(x, w, self.layer.filters, self.tile))

    def terms(self) -> Mapping[str, float]:
        return direct_terms(_shape(self.layer), self.tile, self.target)


@dataclass(frozen=True)
class DenseRunKernel(Kernel):
    """A vector through one layer, or several in one kernel; the average of a map of a size through several."""

    layers: tuple[DenseWorkload, ...]
    target: CpuTarget
    streams: tuple[Streams, ...]
    averaged: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return "matvec" if len(self.layers) == 1 else "matvec_chain"

    @property
    def workload(self) -> str:
        words = ", ".join(map(str, self.layers))
        return words if self.target.stored == FLOAT32 else f"{self.target.stored} weights, {words}"

    @property
    def point(self) -> Point:
        return {f"{knob}{i}": getattr(streams, knob) for i, streams in enumerate(self.streams) for knob in ("count", "vectors", "parallel")}

    def space(self) -> Space:
        each = [stream_knobs(layer.filters, self.target) for layer in self.layers]
        values = {f"{knob}{i}": sorted({*values, getattr(self.streams[i], knob)}) for i, knobs in enumerate(each)
                  for knob, values in knobs.values.items()}

        def allowed(point: Point) -> bool:
            parts = [{knob: point[f"{knob}{i}"] for knob in knobs.values} for i, knobs in enumerate(each)]
            launched = [bool(part["parallel"]) for part in parts]
            # All layers that others wait for run on several threads, or none does.
            return all(knobs.allowed(part) for knobs, part in zip(each, parts, strict=True)) and len(set(launched[:-1] or launched)) == 1 \
                and (launched[0] or not launched[-1] or len(launched) == 1)

        return Space(self.point, (Knobs(values, allowed),))

    def at(self, point: Point) -> DenseRunKernel:
        checked = self.space().check(point, self.workload)
        each = [[number(checked, f"{knob}{i}") for knob in ("count", "vectors", "parallel")] for i in range(len(self.layers))]
        return replace(self, streams=tuple(Streams(count, vectors, bool(parallel)) for count, vectors, parallel in each))

    def bind(self, *layers: LayerConstants) -> BoundKernel:
        matrices = [layer.weight for layer in layers if layer.weight is not None]
        weights = [in_memory(pack_matrix(matrix, streams, self.target.lanes), self.target)
                   for matrix, streams in zip(matrices, self.streams, strict=True)]
        name = stored_name(self.name, weights, self.target)
        if len(weights) == 1:
            return BoundKernel(weights, lambda x, w: matvec(x, w, self.layers[0].filters, self.streams[0]), name)
        stages, operands = [], []
        for layer, workload, streams, packed in zip(layers, self.layers, self.streams, weights, strict=True):
            steps = []
            for step in layer.steps if layer is not layers[-1] else ():
                arguments = step.arguments
                if has_operand(step.name):
                    operands.append(np.pad(arguments[0], (0, stored_outputs(packed.shape) - len(arguments[0]))))
                    arguments = (len(operands) - 1,)
                steps.append((step.name, *arguments))
            stages.append(DenseStage(workload.filters, streams, tuple(steps)))
        count = len(weights)
        parts = 0 if self.averaged is None else parts_of(self.averaged, self.layers[0].channels, self.target)

        def compute(x: te.Tensor, *arrays: te.Tensor) -> te.Tensor:
            return matvec_chain(average(x, parts) if parts else x, arrays[:count], arrays[count:], stages)

        return BoundKernel([*weights, *operands], compute, name)

    def terms(self) -> Mapping[str, float]:
        return matvec_terms([(layer.channels, layer.filters) for layer in self.layers], self.streams, self.target)


def choose_dense(layer: DenseWorkload, target: CpuTarget) -> Kernel:
    """Return the kernel that the models choose for one layer."""
    if layer.rows == 1:
        return DenseRunKernel((layer,), target, (choose_streams(layer.channels, layer.filters, target),))
    return DenseKernel(layer, target, choose_tile(_shape(layer), target))


def choose_dense_run(layers: Sequence[DenseWorkload], target: CpuTarget, averaged: tuple[int, int] | None = None) -> Kernel:
    """Return the kernel that the models choose for layers of one row that follow each other.

    Parameters
    ----------
    layers : sequence of DenseWorkload
    target : CpuTarget
    averaged : tuple of int, optional
        Height and width of a map whose average the first layer reads.
    """
    streams = choose_chain(layers[0].channels, [layer.filters for layer in layers], target)
    return DenseRunKernel(tuple(layers), target, tuple(streams), averaged)


def _shape(layer: DenseWorkload) -> ConvShape:
    """A layer of several rows as a convolution of a column of pixels."""
    return ConvShape(1, 1, layer.channels, layer.filters, (layer.rows, 1))
