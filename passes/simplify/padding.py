"""Taps of a convolution that no output finds the image under go, as far as they lie at an edge of the kernel.

    Conv 3 x 3, dilation 24, of an image of 14 x 14     ->   Conv 1 x 1
    Conv 3 x 3, padding 1, of an image of 1 x 8         ->   Conv 1 x 3

Such a tap multiplies zeros of the padding for every output.
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnxscript import ir

from .editing import operator
from .emit import replace_by_layer
from .kernel import Grid, Kernel, Sizes
from .linear import linear, merged_work, spatial
from .rewrite import Rewrite


class Padding(Rewrite):
    """Leave out the taps that only meet padding."""

    name = "padding"

    def at(self, node: ir.Node) -> str | None:
        """Rewrite a convolution."""
        conv = linear(node, False) if operator(node) == "Conv" else None
        if conv is None:
            return None
        size = spatial(conv.source, False)
        taps = [_taps_on_image(conv.grid, axis, size[axis]) for axis in range(len(size))]
        grid = _cut(conv.grid, taps, size)
        if grid is None or not merged_work(grid, conv.source, conv.result).pays_instead_of(conv.work):
            return None
        whole = conv.kernel()
        places = [slice(None), slice(None), *(slice(each.start, each.stop) for each in taps)]
        kernel = Kernel(grid, whole.weight[tuple(places)], whole.bias)
        name = node.name
        return name if replace_by_layer(conv.result, conv.source, kernel, node, False) else None


def _taps_on_image(grid: Grid, axis: int, size: int) -> range:
    """From the first tap along an axis that meets the image for some output, to the last one."""
    outputs = grid.output_size((size,) * len(grid.kernel))[axis]
    at = grid.stride[axis] * np.arange(outputs)[:, None] + grid.dilation[axis] * np.arange(grid.kernel[axis]) - grid.begin[axis]
    met = np.flatnonzero(((at >= 0) & (at < size)).any(axis=0))
    return range(int(met[0]), int(met[-1]) + 1) if len(met) else range(grid.kernel[axis])


def _cut(grid: Grid, taps: list[range], size: Sizes) -> Grid | None:
    """The grid with these taps only; None where that is the same, or where the outputs would begin behind the image's first pixel."""
    kernel = tuple(map(len, taps))
    begin = tuple(b - each.start * d for b, each, d in zip(grid.begin, taps, grid.dilation, strict=True))
    if kernel == grid.kernel or min(begin) < 0:
        return None
    dilation = tuple(d if count > 1 else 1 for count, d in zip(kernel, grid.dilation, strict=True))
    return replace(grid, kernel=kernel, begin=begin, dilation=dilation).fitted(size, grid.output_size(size))
