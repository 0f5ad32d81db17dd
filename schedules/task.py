"""What is tuned by itself: the layers of one kernel, with what stands around them in a network. Plain data."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .shapes import ConvWorkload, DenseWorkload

Workload: TypeAlias = ConvWorkload | DenseWorkload
RESIDUAL = "residual"  # the step that adds a tensor of the network


@dataclass(frozen=True)
class TaskLayer:
    """A layer, and the element-wise operators behind it.

    Attributes
    ----------
    workload : ConvWorkload or DenseWorkload
    steps : tuple of str
        As `passes.epilogues` names them: ``relax.add``, ``relax.clip 0 6``; or `RESIDUAL`.
    """

    workload: Workload
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Layers that follow each other.

    Attributes
    ----------
    layers : tuple of TaskLayer
        Convolutions and poolings, or fully connected layers; not both.
    source_nchw, result_nchw : bool
        The image comes, or is wanted, as (N, C, H, W); otherwise channels-last.
    cut : tuple of str
        Of convolutions in a run: what kernel each begins by the model, as `backend.Run` names them. Empty for others.
    """

    layers: tuple[TaskLayer, ...]
    source_nchw: bool = False
    result_nchw: bool = False
    cut: tuple[str, ...] = ()

    @property
    def operator(self) -> str:
        """What is computed, in a word or two, for people."""
        first = self.layers[0].workload
        kind = "dense" if isinstance(first, DenseWorkload) else "depthwise" if first.depthwise else "conv2d"
        return kind if len(self.layers) == 1 else f"{kind} chain"

    @property
    def workload(self) -> str:
        """What is computed, shapes and layouts included. Tasks that differ only in their steps have the same."""
        ends = ", from NCHW" * self.source_nchw + ", to NCHW" * self.result_nchw
        return ", ".join(str(layer.workload) for layer in self.layers) + ends

    @property
    def epilogue(self) -> str:
        """The steps behind each layer, for people."""
        return "; ".join(", ".join(step.removeprefix("relax.") for step in layer.steps) for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, by definition."""
        return sum(_macs(layer.workload) for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes that have to be read and written at least once: weights, the first layer's input, the last one's output."""
        first, last = self.layers[0].workload, self.layers[-1].workload
        residual = _numbers(last)[1] if RESIDUAL in self.layers[-1].steps else 0
        return 4 * (_numbers(first)[0] + _numbers(last)[1] + residual) + sum(_weight_bytes(layer.workload) for layer in self.layers)


def _macs(workload: Workload) -> int:
    if isinstance(workload, DenseWorkload):
        return workload.rows * workload.channels * workload.filters
    height, width = workload.output
    return workload.batch * height * width * workload.weight_bytes // 4


def _weight_bytes(workload: Workload) -> int:
    return 4 * workload.channels * workload.filters if isinstance(workload, DenseWorkload) else workload.weight_bytes


def _numbers(workload: Workload) -> tuple[int, int]:
    """How many it reads and writes, without weights."""
    if isinstance(workload, DenseWorkload):
        return workload.rows * workload.channels, workload.rows * workload.filters
    (height, width), (rows, columns) = workload.size, workload.output
    return workload.batch * height * width * workload.channels, workload.batch * rows * columns * workload.geometry.filters
