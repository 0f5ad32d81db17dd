"""The one type that every method returns: a chain of plain convolutions in place of a dense one."""
from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import gcd, prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .metrics import FROBENIUS, Metric


@dataclass(frozen=True, eq=False)
class Stage:
    """One elementary convolution of a chain.

    Parameters
    ----------
    weight
        OIHW, float32, I = input channels / groups. A dense layer is a 1 x 1 convolution of a 1 x 1 image.
    bias
        (O,) float32, or None.
    stride, dilation
        Vertical, horizontal.
    padding
        Zeros added at the top, left, bottom, right.
    groups
        Groups of channels; equal to the input channels for a depthwise stage.
    input_permutation
        The order in which the stage reads the channels before it: its input channel i is channel
        ``input_permutation[i]`` of the stage before (of the network, for the first stage). None: as they come. Only
        clustered forms need one, since the groups of two successive stages may be different sets of channels.

    Raises
    ------
    ValueError
        When the shapes do not fit each other.
    """

    weight: np.ndarray
    bias: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    input_permutation: np.ndarray | None = None

    def __post_init__(self) -> None:
        weight = np.asarray(self.weight, np.float32)
        if weight.ndim != 4:
            raise ValueError(f"a stage's weight must be OIHW, not of shape {weight.shape}")
        if self.groups < 1 or weight.shape[0] % self.groups:
            raise ValueError(f"{weight.shape[0]} output channels do not divide into {self.groups} groups")
        object.__setattr__(self, "weight", weight)
        if self.bias is not None:
            bias = np.asarray(self.bias, np.float32)
            if bias.shape != weight.shape[:1]:
                raise ValueError(f"a bias of shape {bias.shape} does not fit {weight.shape[0]} output channels")
            object.__setattr__(self, "bias", bias)
        if self.input_permutation is not None:
            object.__setattr__(self, "input_permutation", _permutation(self.input_permutation, self.in_channels))

    @property
    def in_channels(self) -> int:
        """Number of input channels."""
        return self.weight.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        return self.weight.shape[0]

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.weight.shape[2:]

    def output_size(self, h: int, w: int) -> tuple[int, int]:
        """Height and width of the output for an input of h x w pixels; ValueError if the kernel does not fit into it."""
        top, left, bottom, right = self.padding
        free = [
            extent - self.dilation[axis] * (self.kernel[axis] - 1) - 1
            for axis, extent in enumerate((h + top + bottom, w + left + right))
        ]
        if min(free) < 0:
            raise ValueError(f"a {self.kernel} kernel with dilation {self.dilation} does not fit an input of {h} x {w} pixels")
        return free[0] // self.stride[0] + 1, free[1] // self.stride[1] + 1


@dataclass(frozen=True, eq=False)
class FactorChain:
    """Plain convolutions, one after the other, that take the place of one convolution or dense layer.

    Parameters
    ----------
    stages
        In the order in which they run.
    permutation
        Output channel f of the chain is channel ``permutation[f]`` of the last stage (after its bias). None: as they come.

    Raises
    ------
    ValueError
        When there is no stage, or the channels of two stages do not fit each other.
    """

    stages: tuple[Stage, ...]
    permutation: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        if not self.stages:
            raise ValueError("a chain needs at least one stage")
        for before, after in pairwise(self.stages):
            if before.out_channels != after.in_channels:
                raise ValueError(f"a stage with {before.out_channels} output channels is followed by one that reads {after.in_channels}")
        if self.permutation is not None:
            object.__setattr__(self, "permutation", _permutation(self.permutation, self.stages[-1].out_channels))

    @property
    def params(self) -> int:
        """Number of weights of all stages, without biases, as ``Layer.params`` counts them."""
        return sum(stage.weight.size for stage in self.stages)

    def macs(self, h: int = 1, w: int = 1) -> int:
        """Multiply-accumulates for one image of h x w pixels; ValueError if a kernel does not fit into it."""
        total = 0
        for stage in self.stages:
            h, w = stage.output_size(h, w)
            total += h * w * stage.weight.size
        return total

    def with_bias(self, bias: np.ndarray) -> FactorChain:
        """The chain that adds ``bias``, (F,) in the order of its output channels, to what it gives."""
        own = np.asarray(bias, np.float32)
        last = self.stages[-1]
        if self.permutation is not None:
            own = own[np.argsort(self.permutation)]
        own = own if last.bias is None else last.bias + own
        return replace(self, stages=(*self.stages[:-1], replace(last, bias=own)))

    def reconstruct(self) -> np.ndarray:
        """The kernel of the one dense convolution that the chain computes.

        The kernels of the stages are convolved with each other. The dense convolution has the product of the stages'
        strides for a stride, and, for each axis, the greatest common divisor of the distances between taps for a
        dilation (1 where there is one tap). Its padding is the sum of the stages' paddings, each times the strides before it.

        The equality is exact everywhere unless a stage pads the output of earlier stages that have several taps along
        the same axis: no single convolution equals such a chain at the border of the image, and the kernel holds inside it.
        A chain with biases is affine; this is its linear part.

        Returns
        -------
        ndarray
            OIHW with I = all input channels, float32.
        """
        return self._compose().astype(np.float32)

    def relative_error(self, weight: np.ndarray, metric: Metric = FROBENIUS) -> float:
        """How far the chain's kernel is from ``weight``: ``||W - reconstruct()|| / ||W||``.

        Parameters
        ----------
        weight
            OIHW of a convolution without groups, or OI of a dense layer. The chain's kernel may have more taps (flattened layers do): the
            weight is then held against the part of it that is nearest, and taps around that part count as errors.
        metric
            The norm. Of taps that the weight does not have only the Frobenius norm knows anything.

        Raises
        ------
        ValueError
            For a weight of another shape than the chain's kernel, or a metric that does not know all its taps.
        """
        dense = np.asarray(weight, np.float64)
        dense = dense.reshape(dense.shape + (1, 1)) if dense.ndim == 2 else dense
        kernel = self._compose()
        if kernel.shape[:2] != dense.shape[:2] or kernel.shape[2] < dense.shape[2] or kernel.shape[3] < dense.shape[3]:
            raise ValueError(f"the chain's kernel is of shape {kernel.shape}, the weight of shape {dense.shape}")
        kernel, around = nearest_part(kernel, dense)
        if around > 0 and metric.name != FROBENIUS.name:
            raise ValueError(f"the chain's kernel has taps that the metric {metric.name} of the weight does not know")
        error, norm = float(np.hypot(metric.norm(dense - kernel), around)), metric.norm(dense)
        if norm == 0:
            return 0.0 if error == 0 else float("inf")
        return float(error / norm)

    def _compose(self) -> np.ndarray:
        """`reconstruct` in float64."""
        first = self.stages[0]
        kernel = _ungroup(first)
        stride, dilation = first.stride, first.dilation
        for stage in self.stages[1:]:
            # Taps of this stage lie stride * its dilation apart, counted in pixels of the chain's input.
            kernel, dilation = _convolve(stage, tuple(s * d for s, d in zip(stride, stage.dilation, strict=True)), kernel, dilation)
            stride = stride[0] * stage.stride[0], stride[1] * stage.stride[1]
        return kernel if self.permutation is None else kernel[self.permutation]


def nearest_part(kernel: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """The part of a kernel, OIHW, with the weight's taps that is nearest to it, and the Frobenius norm of what lies around that part."""
    if kernel.shape == weight.shape:
        return kernel, 0.0
    parts = sliding_window_view(kernel, weight.shape[2:], axis=(2, 3))
    # Nearest in the whole: |around|^2 + |part - weight|^2 = |kernel|^2 + |weight|^2 - 2 <part, weight>.
    y, x = np.unravel_index(np.einsum("fcijyx,fcyx->ij", parts, weight).argmax(), parts.shape[2:4])
    part = parts[:, :, y, x]
    around = kernel.copy()
    around[:, :, y : y + weight.shape[2], x : x + weight.shape[3]] = 0
    return part, float(np.linalg.norm(around))


def _permutation(order: np.ndarray, length: int) -> np.ndarray:
    order = np.asarray(order)
    if order.shape != (length,) or not np.array_equal(np.sort(order), np.arange(length)):
        raise ValueError(f"not a permutation of {length} channels: {order}")
    return order.astype(np.int64)


def _ungroup(stage: Stage) -> np.ndarray:
    """The stage's kernel over all channels of the network: zeros where groups do not connect. OIHW, float64."""
    outputs, width, y, x = stage.weight.shape
    dense = np.zeros((outputs, stage.in_channels, y, x))
    step = outputs // stage.groups
    for g in range(stage.groups):
        dense[g * step : (g + 1) * step, g * width : (g + 1) * width] = stage.weight[g * step : (g + 1) * step]
    if stage.input_permutation is None:
        return dense
    ordered = np.empty_like(dense)
    ordered[:, stage.input_permutation] = dense
    return ordered


def _convolve(stage: Stage, spacing: tuple[int, ...], kernel: np.ndarray, dilation: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Put ``stage``, its taps ``spacing`` pixels apart, behind ``kernel``, its taps ``dilation`` pixels apart.

    Returns the composed kernel and its dilation: the coarsest grid, from the first tap on, that holds all its taps.
    """
    if stage.input_permutation is not None:
        kernel = kernel[stage.input_permutation]
    after, before, grid = [], [], []
    for axis in range(2):
        taps = (stage.kernel[axis], kernel.shape[2 + axis])
        spacings = (spacing[axis], dilation[axis])
        grid.append(gcd(*(s for s, count in zip(spacings, taps, strict=True) if count > 1)) or 1)
        after.append([i * spacing[axis] // grid[axis] for i in range(taps[0])])
        before.append([i * dilation[axis] // grid[axis] for i in range(taps[1])])

    channels = kernel.shape[1:]
    sources = kernel.reshape(stage.groups, -1, prod(channels))
    weight = stage.weight.reshape(stage.groups, -1, *stage.weight.shape[1:]).transpose(3, 4, 0, 1, 2)
    weight = np.ascontiguousarray(weight, np.float64)  # [y, x] is now a contiguous stack of matrices, one for each group
    size = [after[axis][-1] + before[axis][-1] + 1 for axis in range(2)]
    out = np.zeros((stage.out_channels, channels[0], *size))
    for y, top in enumerate(after[0]):
        for x, left in enumerate(after[1]):
            tap = np.matmul(weight[y, x], sources).reshape(stage.out_channels, *channels)
            rows, columns = np.add(before[0], top), np.add(before[1], left)
            out[:, :, rows[:, None], columns[None, :]] += tap
    return out, (grid[0], grid[1])
