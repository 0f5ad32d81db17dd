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
from math import inf
from typing import Any, Generic, TypeVar

import numpy as np
import tvm
from tvm import te

from ..support.errors import TenfoldError
from ..targets import Target
from .interpolation import Interpolation
from .rule import Rule, TargetT
from .shapes import ConvWorkload, DenseWorkload, ResponseNorm
from .space import Point, Space, Value

PACKED_ALIKE = 1.05  # what a kernel may cost, over the model's choice, that reads a weight as another size of the network does
MODEL, WANTED, TUNED = "model", "wanted", "record"  # where a choice comes from: the model of the machine, the user, a tuner
FOLDERS = {"llvm": "cpu", "cuda": "cuda"}  # by the kind of a TVM target, the folder of its backend


INPUT_AXIS = 4     # of packed weights: the channels of the input
SCALED = "scaled"  # name of the block that scales them

Built = TypeVar("Built")


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
    """

    constants: list[np.ndarray]
    compute: Callable[..., te.Tensor]

    def gated(self) -> BoundKernel:
        """Return the kernel for an input whose channels are scaled; `compute` takes the factors, (1, 1, 1, C), behind the data."""
        def compute(data: te.Tensor, factors: te.Tensor, weight: te.Tensor, *others: te.Tensor) -> te.Tensor:
            return self.compute(data, scaled(weight, factors), *others)

        return BoundKernel(self.constants, compute)


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


JOINS = "joins"


def kernels_of(cut: Point) -> list[tuple[int, int]]:
    """Return the first layer of each kernel of a cut, and the one behind its last."""
    begins = [i for i in range(len(cut)) if cut[f"layer{i}"] != JOINS]
    return list(zip(begins, [*begins[1:], len(cut)], strict=True))


@dataclass
class KernelChoices:
    """Points that kernels are built from, by workload: those that are wanted, those of a tuner, and those that were taken.

    Attributes
    ----------
    wanted : mapping of str to Point
        What the user asks for, such as the choices of an earlier compilation. A point that can't be built is an error.
    tuned : mapping of str to Point
        Records of a tuner, for what nothing is wanted of. A point that is not in the space any more is passed over. A workload without
        either gets the model's choice.
    taken : dict of str to Point
        Filled as kernels are chosen.
    origins : dict of str to str
        Likewise: `WANTED`, `TUNED` or `MODEL`.
    stale : dict of str to str
        Why points of `tuned` were passed over.
    forms : mapping of str to list of Point
        How other sizes of the network pack their weights, by the layers of `Kernel.packing`: where the model has the choice, a kernel
        that reads such a form is taken, if it costs little more.
    packed : dict of str to list of Point
        Filled as kernels are chosen: how they pack their weights.
    """

    wanted: Mapping[str, Point] = field(default_factory=dict)
    tuned: Mapping[str, Point] = field(default_factory=dict)
    taken: dict[str, Point] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    forms: Mapping[str, list[Point]] = field(default_factory=dict)
    packed: dict[str, list[Point]] = field(default_factory=dict)
    _refused: TenfoldError | None = None  # kept here, since TVM makes a RuntimeError of what is raised within its passes

    def apply(self, kernel: Kernel) -> Kernel:
        """Return the kernel from the point that its workload is to be built from, and note what was taken."""
        kernel = self._choose(kernel.workload, lambda point: self._alike(kernel) if point is None else kernel.at(point))
        self.taken[kernel.workload] = kernel.point
        if kernel.packing is not None:
            layer, knobs = kernel.packing
            known = self.packed.setdefault(layer, [])
            known += [knobs] * (knobs not in known)
        return kernel

    def _alike(self, kernel: Kernel) -> Kernel:
        """The model's choice, or the cheapest kernel near it that reads its weight in a form that there is already."""
        layer, own = kernel.packing or ("", {})
        forms = self.forms.get(layer, [])
        if not forms or own in forms:
            return kernel
        priced = [(kernel.terms_at(point).get("ms", inf), point) for form in forms for point in kernel.packed_as(form)]
        ms, point = min(priced, default=(inf, {}), key=lambda each: each[0])
        return kernel.at(point) if ms <= PACKED_ALIKE * kernel.terms().get("ms", 0.0) else kernel

    def cut(self, run: Run) -> Point:
        """Return how a run is cut, and note it."""
        space, name = run.space(), run.workload
        point = self._choose(name, lambda point: space.chosen if point is None else space.check(point, name))
        self.taken[name] = self._refined(run, point) if self.origins[name] == MODEL else point
        return self.taken[name]

    def _refined(self, run: Run, cut: Point) -> Point:
        """A cut by the model with what records say of its parts: a tuner looks at the layers of one kernel at a time, or of two."""
        kernels = kernels_of(cut)
        refined = dict(cut)
        for begin, end in kernels:
            refined = self._with_part(run, refined, begin, end) or refined
        number = 0
        while number + 1 < len(kernels):
            changed = self._with_part(run, refined, kernels[number][0], kernels[number + 1][1])
            refined = changed or refined
            number += 1 if changed is None else 2  # a kernel that is joined is no neighbour any more
        return refined

    def _with_part(self, run: Run, cut: dict[str, Value], begin: int, end: int) -> dict[str, Value] | None:
        """A cut with what a record says of some layers; None where there is none that fits."""
        part = run.between(begin, end).workload
        tuned = self.tuned.get(part)
        if tuned is None or part == run.workload:
            return None
        changed = {**cut, **{f"layer{begin + i}": tuned.get(f"layer{i}", JOINS) for i in range(end - begin)}}
        if changed not in run.space():
            self.stale[part] = f"{run.workload} can't be cut so"
            return None
        self.taken[part], self.origins[part] = tuned, TUNED
        return changed

    @contextlib.contextmanager
    def as_raised(self) -> Iterator[None]:
        """Raise the refusal of a point as it was, where TVM makes another error of it."""
        try:
            yield
        except RuntimeError:
            if self._refused is not None:
                raise self._refused from None
            raise

    def _choose(self, workload: str, build: Callable[[Point | None], Built]) -> Built:
        """Build something from the point that its workload is to be built from; `build` takes None for the model's choice."""
        wanted = self.wanted.get(workload)
        if wanted is not None:
            self.origins[workload] = WANTED
            try:
                return build(wanted)
            except TenfoldError as error:
                self._refused = error
                raise
        tuned = self.tuned.get(workload)
        if tuned is not None:
            try:
                built = build(tuned)
            except TenfoldError as error:
                self.stale[workload] = str(error)
            else:
                self.origins[workload] = TUNED
                return built
        self.origins[workload] = MODEL
        return build(None)


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
    any_address: bool = False  # its kernels take images that begin at any number: a part of an image can lie in it

    def __init__(self, target: TargetT, choices: KernelChoices | None = None):
        self.target = target
        self.choices = KernelChoices() if choices is None else choices
        self.computed_in: dict[str, str] = {}  # of a quantized network, each layer: "int8", or why it is computed in float32

    def convolution(self, workload: ConvWorkload) -> Kernel | None:
        """Return the kernel of a channels-last float32 convolution with constant weight; None for TVM's own."""
        return None

    def dense(self, workload: DenseWorkload) -> Kernel | None:
        """Return the kernel of a fully connected layer with constant weight; None for TVM's own."""
        return None

    @property
    def on_bytes(self) -> bool:
        """Whether it has kernels of bytes at all: else nothing of a quantized network changes, and all of it is computed in float32."""
        return False

    @property
    def byte_dtype(self) -> str:
        """Of the bytes that such kernels read: ``uint8`` or ``int8``."""
        return "uint8"

    def byte_convolution(self, workload: ConvWorkload) -> Kernel | None:
        """Return the kernel of a channels-last convolution of bytes (`byte_dtype`) by int8.

        Its result is the sum over (input - zero) * weight, exactly: int32, or float32 where that holds it. None where it has none: such a
        layer is computed in float32.
        """
        return None

    def quicker_in_float32(self, workload: ConvWorkload) -> bool:
        """Whether a convolution takes longer by its kernel of bytes than by that in float32, and what turns its input into float32."""
        return False

    def byte_dense(self, workload: DenseWorkload) -> Kernel | None:
        """Return the kernel of a fully connected layer of bytes by int8, as `byte_convolution`."""
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

    def dense_run(self, run: Sequence[DenseWorkload], averaged: tuple[int, int] | None = None) -> Kernel | None:
        """Return one kernel for fully connected layers of one row that follow each other; None where each gets its own.

        Parameters
        ----------
        run : sequence of DenseWorkload
        averaged : tuple of int, optional
            Height and width of a map, (1, H, W, C): the first layer reads its average.
        """
        return None

    def response_norm(self, shape: tuple[int, ...], norm: ResponseNorm) -> BoundKernel | None:
        """Return the kernel of a local response normalisation over the last axis; None for TVM's operators."""
        return None

    def resize(self, shape: Sequence[int], size: tuple[int, int], how: Interpolation, to_nchw: bool) -> BoundKernel | None:
        """Return the kernel that resizes a channels-last image; None for TVM's operator.

        Parameters
        ----------
        shape : sequence of int
            Of the image, (N, H, W, C).
        size : tuple of int
            Height and width of the result.
        how : Interpolation
            Along both axes.
        to_nchw : bool
            The result is wanted as (N, C, H, W).
        """
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
