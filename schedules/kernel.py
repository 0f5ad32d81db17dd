"""A kernel, as a backend offers it: what it computes, what it can be built from, its constants; and runs of layers, cut into kernels."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te

from .space import Point, Space

INPUT_AXIS = 4     # of packed weights: the channels of the input
SCALED = "scaled"  # name of the block that scales them
JOINS = "joins"    # of a layer, in a cut: it belongs to the kernel of the one before it


@dataclass(frozen=True)
class EpilogueStep:
    """An element-wise operator behind a layer.

    Attributes
    ----------
    name : str
        Its name in Relax, one of `operators.ELEMENTWISE` that has a step.
    arguments : tuple
        What it reads besides the value: numbers, or an array of one value for each channel.
    """

    name: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class LayerConstants:
    """Hold the constants of one layer of a kernel.

    Attributes
    ----------
    weight : ndarray, optional
        (F, C / groups, KH, KW), or (F, C) of a dense layer. None for pooling. Of a layer of bytes: int8.
    steps : tuple of EpilogueStep
        Element-wise operators behind it.
    order : ndarray, optional
        The order in which it reads the channels of its input.
    zero : int
        Of a layer of bytes: the byte of its input that stands for 0.
    """

    weight: np.ndarray | None
    steps: tuple[EpilogueStep, ...] = ()
    order: np.ndarray | None = None
    zero: int = 0


@dataclass(frozen=True)
class BoundKernel:
    """A kernel with its constants.

    Attributes
    ----------
    constants : list of ndarray
        Packed as the kernel reads them.
    compute : callable
        From the data and one placeholder for each constant to the result, as TE.
    name : str, optional
        What the function is called, where the constants decide it; else it has the kernel's name.
    """

    constants: list[np.ndarray]
    compute: Callable[..., te.Tensor]
    name: str | None = None

    def gated(self) -> BoundKernel:
        """Return the kernel for an input whose channels are scaled; `compute` takes the factors, (1, 1, 1, C), behind the data."""
        def compute(data: te.Tensor, factors: te.Tensor, weight: te.Tensor, *others: te.Tensor) -> te.Tensor:
            return self.compute(data, scaled(weight, factors), *others)

        return BoundKernel(self.constants, compute, self.name)


def scaled(weight: te.Tensor, factors: te.Tensor) -> te.Tensor:
    """Write a packed weight times a factor for each input channel as TE."""
    return te.compute(weight.shape, lambda *at: weight(*at) * factors[0, 0, 0, at[INPUT_AXIS]], name=SCALED)


class Kernel(ABC):
    """One way to compute a layer, or a run of layers."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the function is called."""

    @property
    @abstractmethod
    def workload(self) -> str:
        """What is computed, shapes included: the key of a record."""

    @property
    @abstractmethod
    def point(self) -> Point:
        """What it is built from."""

    @property
    def takes_gate(self) -> bool:
        """Whether `BoundKernel.gated` can scale the channels of its input: its first constant has them along axis `INPUT_AXIS`."""
        return False

    @property
    def packing(self) -> tuple[str, Point] | None:
        """What the form of its packed weight depends on: the layer, whatever its batch and image, and some knobs. None: nothing known."""
        return None

    def packed_as(self, knobs: Point) -> Iterator[Point]:
        """Go through points of its space that pack the weight by these knobs, those of `packing`; all else near its own point."""
        yield from ()

    @property
    def takes_nchw(self) -> tuple[bool, bool]:
        """Whether it reads an image that lies as (N, C, H, W), and whether it writes one."""
        return False, False

    @abstractmethod
    def space(self) -> Space:
        """What it could be built from, the model's choice first."""

    @abstractmethod
    def at(self, point: Point) -> Kernel:
        """Return the kernel for the same workload that is built from another point of its space.

        Raises
        ------
        TenfoldError
            The point is not in the space.
        """

    @abstractmethod
    def bind(self, *layers: LayerConstants) -> BoundKernel:
        """Pack the constants of its layers."""

    def terms(self) -> Mapping[str, float]:
        """Return what the models of the machine say of it, by the names of `terms.TERMS`; nothing where there is no model."""
        return {}

    def terms_at(self, point: Point) -> Mapping[str, float]:
        """Return the terms of the kernel that is built from another point of its space."""
        return self.at(point).terms()


@dataclass(frozen=True)
class RunPart:
    """Some layers of a run, one after the other, in one kernel.

    Attributes
    ----------
    count : int
        How many.
    kernel : Kernel, optional
        None for a layer that is left as it is, for `Backend.convolution`.
    source_nchw, result_nchw : bool
        The kernel reads an image, or writes one, that lies as (N, C, H, W). One that writes it so takes in the steps behind its last layer,
        too; others leave these in the graph.
    """

    count: int
    kernel: Kernel | None = None
    source_nchw: bool = False
    result_nchw: bool = False

    def of(self, kernel: Kernel) -> RunPart:
        """Return the part with its kernel built from another point, which may read and write images that lie in another way."""
        source, result = kernel.takes_nchw
        return RunPart(self.count, kernel, source, result)


class Run(ABC):
    """Layers that follow each other, each the only reader of the one before, and the ways to cut them into kernels.

    A point of its space says of each layer, as ``layer0`` and so on, what kernel it begins, or that it ``joins`` the one before it.
    """

    @property
    @abstractmethod
    def workload(self) -> str:
        """What is cut, shapes included: the key of a record. A run of one layer has another name than the layer."""

    @abstractmethod
    def space(self) -> Space:
        """All ways to cut it, the model's first."""

    @abstractmethod
    def parts(self, point: Point) -> list[RunPart]:
        """Return the kernels of a cut that is in the space, each as the model has it."""

    @abstractmethod
    def terms_at(self, point: Point) -> Mapping[str, float]:
        """Return the terms of all kernels of a cut together; of the cuts that have an estimate, the model's has the least."""

    @abstractmethod
    def between(self, begin: int, end: int) -> Run:
        """Return some of its layers as a run by itself."""


def kernels_of(cut: Point) -> list[tuple[int, int]]:
    """Return the first layer of each kernel of a cut, and the one behind its last."""
    begins = [i for i in range(len(cut)) if cut[f"layer{i}"] != JOINS]
    return list(zip(begins, [*begins[1:], len(cut)], strict=True))
