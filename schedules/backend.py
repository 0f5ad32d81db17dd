"""What a target brings to compiling: its kernels, how runs of layers become kernels, its schedule rules and rewrites of loops.

A pass matches operators, asks the backend, and calls what it gets. It never names a target. A new target is a folder here, with a
module ``backend`` that has a subclass of `Backend` as ``BACKEND``, and a preset in ``targets/presets``.
"""
from __future__ import annotations

import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
import tvm

from ..support.errors import TenfoldError
from ..targets import Target
from .rule import Rule, TargetT
from .shapes import ConvWorkload, DenseWorkload, ResponseNorm
from .space import Point, Space

if TYPE_CHECKING:
    from tvm import te

FOLDERS = {"llvm": "cpu", "cuda": "cuda"}  # by the kind of a TVM target, the folder of its backend


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
        (F, C / groups, KH, KW), or (F, C) of a dense layer. None for pooling.
    steps : tuple of EpilogueStep
        Element-wise operators behind it.
    order : ndarray, optional
        The order in which it reads the channels of its input.
    """

    weight: np.ndarray | None
    steps: tuple[EpilogueStep, ...] = ()
    order: np.ndarray | None = None


@dataclass(frozen=True)
class BoundKernel:
    """A kernel with its constants.

    Attributes
    ----------
    constants : list of ndarray
        Packed as the kernel reads them.
    compute : callable
        From the data and one placeholder for each constant to the result, as TE.
    """

    constants: list[np.ndarray]
    compute: Callable[..., te.Tensor]


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
    def between(self, begin: int, end: int) -> Run:
        """Return some of its layers as a run by itself."""


JOINS = "joins"


def kernels_of(cut: Point) -> list[tuple[int, int]]:
    """Return the first layer of each kernel of a cut, and the one behind its last."""
    begins = [i for i in range(len(cut)) if cut[f"layer{i}"] != JOINS]
    return list(zip(begins, [*begins[1:], len(cut)], strict=True))


@dataclass
class KernelChoices:
    """Points that kernels are built from, by workload: those that are wanted, and those that were taken.

    Attributes
    ----------
    wanted : mapping of str to Point
        Records, of a tuner or of an earlier compilation. A workload without one gets the model's choice.
    taken : dict of str to Point
        Filled as kernels are chosen.
    """

    wanted: Mapping[str, Point] = field(default_factory=dict)
    taken: dict[str, Point] = field(default_factory=dict)
    _refused: TenfoldError | None = None  # kept here, since TVM makes a RuntimeError of what is raised within its passes

    def apply(self, kernel: Kernel) -> Kernel:
        """Return the kernel from the point that is wanted for its workload, if one is, and note what was taken."""
        wanted = self.wanted.get(kernel.workload)
        if wanted is not None:
            with self.checking():
                kernel = kernel.at(wanted)
        self.taken[kernel.workload] = kernel.point
        return kernel

    def cut(self, run: Run) -> Point:
        """Return how a run is cut, and note it."""
        wanted = self.wanted.get(run.workload)
        if wanted is None:
            point = run.space().chosen
        else:
            with self.checking():
                point = run.space().check(wanted, run.workload)
        self.taken[run.workload] = point
        return point

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Remember a point that is refused while the block lasts, for `as_raised`."""
        try:
            yield
        except TenfoldError as error:
            self._refused = error
            raise

    @contextlib.contextmanager
    def as_raised(self) -> Iterator[None]:
        """Raise the refusal of a point as it was, where TVM makes another error of it."""
        try:
            yield
        except RuntimeError:
            if self._refused is not None:
                raise self._refused from None
            raise


class Backend(ABC, Generic[TargetT]):
    """The kernels of one kind of target.

    Parameters
    ----------
    target : Target
    choices : KernelChoices, optional
        What kernels are built from, where it is not the model's choice.
    """

    rules: Sequence[Rule[TargetT]]  # in the order in which they are tried
    lacks: frozenset[str] = frozenset()  # operators of Relax that it can't compute

    def __init__(self, target: TargetT, choices: KernelChoices | None = None):
        self.target = target
        self.choices = KernelChoices() if choices is None else choices

    def convolution(self, workload: ConvWorkload) -> Kernel | None:
        """Return the kernel of a channels-last float32 convolution with constant weight; None for TVM's own."""
        return None

    def dense(self, workload: DenseWorkload) -> Kernel | None:
        """Return the kernel of a fully connected layer with constant weight; None for TVM's own."""
        return None

    def run(self, workloads: Sequence[ConvWorkload], source_nchw: bool, result_nchw: bool) -> Run | None:
        """Return the ways to cut a run of convolutions and poolings into kernels; None where each layer is left as it is.

        Parameters
        ----------
        workloads : sequence of ConvWorkload
            Each the only reader of the one before.
        source_nchw, result_nchw : bool
            The image comes, or is wanted, as (N, C, H, W).
        """
        return None

    def convolution_run(self, workloads: Sequence[ConvWorkload], source_nchw: bool, result_nchw: bool) -> list[RunPart]:
        """Cut a run into kernels, as `run` takes it: by the choices, or else by the model."""
        whole = self.run(workloads, source_nchw, result_nchw)
        if whole is None:
            return [RunPart(1) for _ in workloads]
        parts = whole.parts(self.choices.cut(whole))
        return [part if part.kernel is None else part.of(self.choices.apply(part.kernel)) for part in parts]

    def dense_run(self, run: Sequence[DenseWorkload]) -> Kernel | None:
        """Return one kernel for fully connected layers of one row that follow each other; None where each gets its own."""
        return None

    def response_norm(self, shape: tuple[int, ...], norm: ResponseNorm) -> BoundKernel | None:
        """Return the kernel of a local response normalisation over the last axis; None for TVM's operators."""
        return None

    @abstractmethod
    def batch_pieces(self, traffic: BatchTraffic) -> int:
        """Return in how many pieces a batch is computed best: 1 where that is all at once."""

    def lower_math(self, mod: tvm.IRModule) -> tvm.IRModule:
        """Rewrite exp, tanh and their like in scheduled functions, where the target has no good code for them."""
        return mod

    @abstractmethod
    def lower_loops(self, mod: tvm.IRModule) -> tvm.IRModule:
        """Rewrite scheduled functions as loops without blocks, ready for code generation."""


@dataclass(frozen=True)
class BatchTraffic:
    """What a batch moves through the caches.

    Attributes
    ----------
    images : int
    weights : int
        Bytes of all weights, which every piece of the batch reads.
    widest, between : float
        Bytes of one image: what the widest layer reads and writes, and what all of them do.
    kernels : int
    """

    images: int
    weights: int
    widest: float
    between: float
    kernels: int


def backend_of(target: Target, choices: KernelChoices | None = None) -> Backend[Any]:
    """Return the backend of a target, found by the target's kind."""
    module = importlib.import_module(f".{FOLDERS[target.tvm['kind']]}.backend", __package__)
    return module.BACKEND(target, choices)
