"""The algebra of linear layers: a `Kernel` is what a convolution computes, and kernels can be added and composed exactly.

    (A + B) x = A x + B x         both on one grid of taps: the smaller kernel is padded with zeros, groups are written out
    B (A x)   = (B A) x           taps convolved; strides multiply

A dense layer is a kernel without spatial axes. Identities, batch norms, average pools and space-to-depth are kernels too. All weights are
float64.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Where the taps of a convolution lie: the geometry of a kernel without its numbers.

    Attributes
    ----------
    outputs, inputs : int
        Channels.
    kernel, stride, dilation : tuple of int
        One entry for each spatial axis.
    begin, end : tuple of int
        Zeros before and behind the image.
    groups : int
    """

    outputs: int
    inputs: int
    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    begin: Sizes
    end: Sizes
    groups: int

    @property
    def params(self) -> int:
        """Numbers in the weight."""
        return self.outputs * (self.inputs // self.groups) * math.prod(self.kernel)

    @property
    def padded(self) -> bool:
        """Whether an output may read beyond the image."""
        return any(self.begin) or any(self.end)

    @property
    def pointwise(self) -> bool:
        """Whether each output reads the input at its own place only."""
        return not self.padded and all(size == 1 for size in (*self.kernel, *self.stride))

    def output_size(self, size: Sizes) -> Sizes:
        """The spatial sizes of the output for those of the input."""
        axes = zip(size, self.begin, self.end, self.kernel, self.dilation, self.stride, strict=True)
        return tuple((i + b + e - (k - 1) * d - 1) // s + 1 for i, b, e, k, d, s in axes)

    def fitted(self, size: Sizes, wanted: Sizes) -> Grid | None:
        """The same grid with just as many zeros behind the image as the outputs read, or None where these outputs can't be had."""
        axes = zip(size, wanted, self.begin, self.kernel, self.dilation, self.stride, strict=True)
        end = tuple(max((out - 1) * s + (k - 1) * d + 1 - i - b, 0) for i, out, b, k, d, s in axes)
        found = replace(self, end=end)
        return found if found.output_size(size) == wanted else None


@dataclass(frozen=True)
class Kernel:
    """A linear layer: ``y = weight * x + bias``, as the Conv of ONNX has it.

    Attributes
    ----------
    grid : Grid
    weight : ndarray
        Float64, (outputs, inputs / groups, *kernel).
    bias : ndarray
        Float64, one number for each output.
    """

    grid: Grid
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def plain(cls, weight: np.ndarray, bias: np.ndarray | None = None, groups: int = 1) -> Kernel:
        """Without padding, stride and dilation."""
        outputs, inputs = weight.shape[0], weight.shape[1] * groups
        ones, zeros = (1,) * (weight.ndim - 2), (0,) * (weight.ndim - 2)
        grid = Grid(outputs, inputs, tuple(weight.shape[2:]), ones, ones, zeros, zeros, groups)
        return cls(grid, weight, np.zeros(outputs) if bias is None else bias)

    @classmethod
    def affine(cls, scale: np.ndarray, shift: np.ndarray, axes: int) -> Kernel:
        """``scale * x + shift`` for each channel, over a number of spatial axes."""
        return cls.plain(scale.reshape(-1, 1, *(1,) * axes), shift, len(scale))


def added_grid(a: Grid, b: Grid, size: Sizes, wanted: Sizes) -> Grid | None:
    """The grid on which both kernels fit, or None where their outputs are not at the same places.

    Parameters
    ----------
    a, b : Grid
        Of layers of one input.
    size, wanted : tuple of int
        Spatial sizes of the input and of the output.
    """
    if a.stride != b.stride or (a.inputs, a.outputs) != (b.inputs, b.outputs):
        return None
    begin, dilation, kernel = [], [], []
    for axis in range(len(a.kernel)):
        first = min(-a.begin[axis], -b.begin[axis])
        last = max(_last(a, axis), _last(b, axis))
        step = math.gcd(a.begin[axis] - b.begin[axis], *(g.dilation[axis] for g in (a, b) if g.kernel[axis] > 1)) or 1
        begin.append(-first)
        dilation.append(step)
        kernel.append((last - first) // step + 1)
    zeros = (0,) * len(kernel)
    merged = Grid(a.outputs, a.inputs, tuple(kernel), a.stride, tuple(dilation), tuple(begin), zeros, math.gcd(a.groups, b.groups))
    return merged.fitted(size, wanted)


def _last(grid: Grid, axis: int) -> int:
    return -grid.begin[axis] + (grid.kernel[axis] - 1) * grid.dilation[axis]


def added(a: Kernel, b: Kernel, grid: Grid) -> Kernel:
    """The sum of two kernels on the grid that `added_grid` found for them."""
    weight = np.zeros((grid.outputs, grid.inputs // grid.groups, *grid.kernel))
    for kernel in (a, b):
        place = [slice(None), slice(None)]
        for axis, size in enumerate(kernel.grid.kernel):
            start = (grid.begin[axis] - kernel.grid.begin[axis]) // grid.dilation[axis]
            step = kernel.grid.dilation[axis] // grid.dilation[axis] if size > 1 else 1
            place.append(slice(start, start + (size - 1) * step + 1, step))
        weight[tuple(place)] += with_groups(kernel.weight, kernel.grid.groups, grid.groups)
    return Kernel(grid, weight, a.bias + b.bias)


def composed_grid(first: Grid, second: Grid, size: Sizes, unshifted: bool) -> Grid | None:
    """The grid of ``second`` after ``first``, or None where no single convolution computes both.

    The zeros that the second one pads with must be what the first one would compute there: it has no bias, and no tap of an output that is
    beyond the image reaches into it. So it is where it has one tap, or as many as its stride.

    Parameters
    ----------
    first, second : Grid
    size : tuple of int
        Spatial sizes of the input.
    unshifted : bool
        Whether the first one has no bias.
    """
    if first.outputs != second.inputs:
        return None
    middle = first.output_size(size)
    begin, dilation, kernel, stride = [], [], [], []
    for axis in range(len(first.kernel)):
        reach = (first.kernel[axis] - 1) * first.dilation[axis] - first.begin[axis]  # of the output before the first one, plus the stride
        rest = middle[axis] * first.stride[axis] - first.begin[axis]  # where the output behind the last one begins
        if second.begin[axis] and (not unshifted or reach >= first.stride[axis]):
            return None
        if second.end[axis] and (not unshifted or rest < size[axis]):
            return None
        steps = (first.dilation[axis], second.dilation[axis] * first.stride[axis])
        taps = (first.kernel[axis], second.kernel[axis])
        step = math.gcd(*(s for s, k in zip(steps, taps, strict=True) if k > 1)) or 1
        extent = sum((k - 1) * s for s, k in zip(steps, taps, strict=True))
        begin.append(first.begin[axis] + second.begin[axis] * first.stride[axis])
        dilation.append(step)
        kernel.append(extent // step + 1)
        stride.append(first.stride[axis] * second.stride[axis])
    zeros, groups = (0,) * len(kernel), math.gcd(first.groups, second.groups)
    merged = Grid(second.outputs, first.inputs, tuple(kernel), tuple(stride), tuple(dilation), tuple(begin), zeros, groups)
    return merged.fitted(size, second.output_size(middle))


def composed(first: Kernel, second: Kernel, grid: Grid) -> Kernel:
    """``second`` after ``first``, on the grid that `composed_grid` found for them."""
    groups = grid.groups
    inner = with_groups(first.weight, first.grid.groups, groups)
    outer = with_groups(second.weight, second.grid.groups, groups)
    inner = inner.reshape(groups, -1, *inner.shape[1:])  # (groups, middle, inputs, *taps)
    outer = outer.reshape(groups, -1, *outer.shape[1:])  # (groups, outputs, middle, *taps)
    weight = np.zeros((groups, outer.shape[1], inner.shape[2], *grid.kernel))
    for taps in np.ndindex(*second.grid.kernel):
        place = [slice(None)] * 3
        for axis, tap in enumerate(taps):
            start = tap * second.grid.dilation[axis] * first.grid.stride[axis] // grid.dilation[axis]
            step = first.grid.dilation[axis] // grid.dilation[axis] if first.grid.kernel[axis] > 1 else 1
            place.append(slice(start, start + (first.grid.kernel[axis] - 1) * step + 1, step))
        part = outer[(slice(None),) * 3 + taps]
        weight[tuple(place)] += np.einsum("gom,gmi...->goi...", part, inner, optimize=True)
    sums = second.weight.sum(axis=tuple(range(2, second.weight.ndim)))
    total = second.bias + _dense(sums, second.grid.groups) @ first.bias
    return Kernel(grid, weight.reshape(grid.outputs, grid.inputs // groups, *grid.kernel), total)


def _dense(matrix: np.ndarray, groups: int) -> np.ndarray:
    return with_groups(matrix, groups, 1)


def with_groups(weight: np.ndarray, groups: int, fewer: int) -> np.ndarray:
    """A grouped weight written out for fewer groups, of which the given number is a multiple: zeros between different groups."""
    if groups == fewer:
        return weight
    outputs, inputs = weight.shape[:2]
    within = groups // fewer  # groups that become one
    wide = np.zeros((outputs, within * inputs, *weight.shape[2:]))
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        column = group % within * inputs
        wide[rows, column : column + inputs] = weight[rows]
    return wide


