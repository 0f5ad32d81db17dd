"""A point of a kernel's space as a vector of numbers of fixed length: what a cost model learns from.

It has what the models of the machine say of the kernel (`schedules.terms`), its knobs, its shape, and figures of the machine. Sizes are
logarithms to the base of 2, of one more than the size.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2, prod
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ..schedules.shapes import ConvWorkload, DenseWorkload
from ..schedules.space import Point, Space, Value
from ..schedules.terms import TERMS
from ..targets import CpuTarget, GpuTarget, Target

Vector: TypeAlias = npt.NDArray[np.float32]
Layer: TypeAlias = ConvWorkload | DenseWorkload


class Tunable(Protocol):
    """What has a space: a `Kernel`, or a run of layers, whose points say where it is cut."""

    @property
    def workload(self) -> str:
        """What is computed."""

    def space(self) -> Space:
        """Return its points, the model's choice first."""

    def terms_at(self, point: Point) -> Mapping[str, float]:
        """Return what the models say of a point."""


SHARES = frozenset(("excess", "tail", "prefetch"))  # terms that are taken as they are; of all others the logarithm
STAGES = 4         # of a chain, whose tiles are features; later ones are not
KINDS = ("own", "pooled", "chain", "joins")  # of what a layer of a run begins

# Knobs by name. Numbers and switches only; `algorithm`, `source`, the tiles of a chain's stages and the cuts of a run follow.
KNOBS = ("blocks", "channels_outer", "columns", "count", "depth", "filters", "flat", "merged", "outputs", "parallel", "pixels",
         "prefetch", "rows", "shared", "splits", "stages", "strips", "thread_filters", "thread_rows", "threads", "tiles", "vectors",
         "warp_filters", "warp_rows", "warps", "weights_inner")
WORDS: Mapping[str, tuple[str, ...]] = {
    "algorithm": ("direct", "winograd", "depthwise", "matvec", "gemm", "tensor", "bytes", "pairs"), "source": ("nhwc", "nchw", "in place"),
    "precision": ("float32", "tf32", "fp16", "int8"),
}
TILE = ("groups", "pixels", "vectors", "interleaved")  # of a stage of a chain

SHAPE = ("layers", "batch", "height", "width", "channels", "filters", "taps", "groups", "stride", "out_pixels", "weight_bytes",
         "source_bytes", "result_bytes")
CPU = ("cores", "vector_bits", "vector_registers", "l1_bytes", "l2_bytes", "l3_bytes")
CPU_MODEL = ("fma_per_cycle", "loads_per_cycle", "fma_latency", "memory_operand", "lane_operand", "in_order", "l2_bytes_per_cycle",
             "l3_bytes_per_cycle", "memory_bytes_per_cycle", "launch_cycles", "task_cycles")
GPU_MODEL = ("sms", "fma_per_cycle", "tensor_fma_per_cycle", "half_fma_per_cycle", "registers", "threads", "shared_bytes", "l2_bytes",
             "l2_bytes_per_cycle", "memory_bytes_per_cycle", "launch_cycles", "async_copies")

FEATURE_NAMES: tuple[str, ...] = (
    "priced", *(f"term {name}" for name in TERMS),
    *(f"knob {name}" for name in KNOBS), *(f"{knob} {word}" for knob, words in WORDS.items() for word in words),
    *(f"stage{i} {name}" for i in range(STAGES) for name in TILE), *(f"layers {kind}" for kind in KINDS),
    *(f"shape {name}" for name in SHAPE),
    *(f"cpu {name}" for name in (*CPU, *CPU_MODEL)), *(f"gpu {name}" for name in GPU_MODEL),
)
PRICED, ESTIMATE = FEATURE_NAMES.index("priced"), FEATURE_NAMES.index("term ms")
NONE = -1.0  # of a knob or a figure that there is not


def features(kernel: Tunable, point: Point, target: Target) -> Vector:
    """Return a point as a vector.

    Parameters
    ----------
    kernel : Tunable
        A kernel from any point of the space.
    point : Point
        Of its space.
    target : Target

    Returns
    -------
    ndarray
        As many float32 numbers as `FEATURE_NAMES`, all of them finite.

    Raises
    ------
    TenfoldError
        The point is not in the kernel's space.
    """
    return FeatureMaker(kernel, target)(point)


class FeatureMaker:
    """Makes the vectors of points of one kernel; what all points have is found once."""

    def __init__(self, kernel: Tunable, target: Target):
        self.kernel = kernel
        self._fixed = [*_shape(layers_of(kernel)), *_machine(target)]

    def __call__(self, point: Point) -> Vector:
        """Return the vector of a point."""
        return np.array([*_terms(self.kernel.terms_at(point)), *_knobs(point), *self._fixed], np.float32)


def estimates(vectors: Vector) -> npt.NDArray[np.float64]:
    """Return the estimates in milliseconds that vectors of features hold; infinite where there is none.

    Parameters
    ----------
    vectors : ndarray
        (points, features).
    """
    return np.where(vectors[:, PRICED] > 0, np.exp2(vectors[:, ESTIMATE].astype(np.float64)), np.inf)


def layers_of(kernel: object) -> tuple[Layer, ...]:
    """Return the layers that a kernel or a run computes."""
    for name in ("convolution", "layer"):
        one = getattr(kernel, name, None)
        if one is not None:
            return (one,)
    return tuple(getattr(kernel, "links", ())) or tuple(getattr(kernel, "layers", ()))


def _terms(terms: Mapping[str, float]) -> list[float]:
    estimate = terms.get("ms")
    priced = estimate is not None and estimate > 0
    found = [float(priced), log2(estimate) if estimate is not None and priced else 0.0]
    return found + [value if name in SHARES else log2(1 + value) for name in TERMS if name != "ms" for value in (terms.get(name, 0.0),)]


def _knobs(point: Point) -> list[float]:
    found = [_size(point[name]) if name in point else NONE for name in KNOBS]
    found += [float(point.get(knob) == word) for knob, words in WORDS.items() for word in words]
    for i in range(STAGES):
        tile = point.get(f"stage{i}")
        found += [_size(value) for value in tile] if isinstance(tile, tuple) else [NONE] * len(TILE)
    kinds = [value for knob, value in point.items() if knob.startswith("layer")]
    # Knobs of several layers: one of `count0`, `count1`, ... is of each.
    for name in ("count", "vectors", "parallel"):
        if f"{name}0" in point:
            found[KNOBS.index(name)] = _size(point[f"{name}0"])
    return found + [float(kinds.count(kind)) for kind in KINDS]


def _size(value: Value) -> float:
    return log2(1 + value) if isinstance(value, int) else NONE


def _shape(layers: Sequence[Layer]) -> list[float]:
    if not layers:
        return [0.0] * len(SHAPE)
    first, last = _sizes(layers[0]), _sizes(layers[-1])
    weights = sum(_sizes(layer)["weight_bytes"] for layer in layers)
    found = {**first, "layers": len(layers), "weight_bytes": weights,
             "out_pixels": last["out_pixels"], "result_bytes": last["result_bytes"]}
    return [log2(1 + found[name]) for name in SHAPE]


def _sizes(layer: Layer) -> dict[str, float]:
    if isinstance(layer, DenseWorkload):
        return {"batch": layer.rows, "height": 1, "width": 1, "channels": layer.channels, "filters": layer.filters, "taps": 1, "groups": 1,
                "stride": 1, "out_pixels": 1, "weight_bytes": 4 * layer.channels * layer.filters,
                "source_bytes": 4 * layer.rows * layer.channels, "result_bytes": 4 * layer.rows * layer.filters}
    geometry, (height, width) = layer.geometry, layer.size
    return {"batch": layer.batch, "height": height, "width": width, "channels": layer.channels, "filters": geometry.filters,
            "taps": prod(geometry.kernel), "groups": geometry.groups, "stride": prod(geometry.stride), "out_pixels": prod(layer.output),
            "weight_bytes": layer.weight_bytes, "source_bytes": 4 * layer.batch * height * width * layer.channels,
            "result_bytes": 4 * layer.batch * prod(layer.output) * geometry.filters}


def _machine(target: Target) -> list[float]:
    cpu = [NONE] * (len(CPU) + len(CPU_MODEL))
    gpu = [NONE] * len(GPU_MODEL)
    if isinstance(target, CpuTarget):
        cpu = [_figure(getattr(target, name)) for name in CPU] + [_figure(getattr(target.model, name)) for name in CPU_MODEL]
    elif isinstance(target, GpuTarget):
        gpu = [_figure(getattr(target.model, name)) for name in GPU_MODEL]
    return cpu + gpu


def _figure(value: Any) -> float:
    return log2(1 + float(value))
