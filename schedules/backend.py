"""What a target brings to compiling: its kernels, how runs of layers become kernels, its schedule rules and rewrites of loops.

A pass matches operators, asks the backend, and calls what it gets. It never names a target. A new target is a folder here, with a
module ``backend`` that has a subclass of `Backend` as ``BACKEND``, and a preset in ``targets/presets``.

Kernels (`kernel.py`) and the choices among them (`choices.py`) are files of their own; whoever asks a backend finds their names here, too.
"""
from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import tvm

from ..targets import Target
from .choices import MODEL, TUNED, WANTED, KernelChoices
from .interpolation import Interpolation
from .kernel import JOINS, BoundKernel, EpilogueStep, Kernel, LayerConstants, Run, RunPart, kernels_of
from .rule import Rule, TargetT
from .shapes import ConvWorkload, DenseWorkload, ResponseNorm

__all__ = [
    "JOINS", "MODEL", "TUNED", "WANTED", "Backend", "BatchTraffic", "BoundKernel", "EpilogueStep", "Kernel", "KernelChoices",
    "LayerConstants", "Run", "RunPart", "backend_of", "kernels_of",
]

FOLDERS = {"llvm": "cpu", "cuda": "cuda"}  # by the kind of a TVM target, the folder of its backend


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

    @property
    def rounds_operands(self) -> bool:
        """Whether operands of products may be rounded to bfloat16, and it has kernels for that."""
        return False

    def half_convolution(self, workload: ConvWorkload) -> Kernel | None:
        """Return the kernel of a channels-last convolution of bfloat16 by bfloat16, as uint16, to float32; None where it has none."""
        return None

    def half_dense(self, workload: DenseWorkload) -> Kernel | None:
        """Return the kernel of a fully connected layer of bfloat16 by bfloat16, as `half_convolution`."""
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
