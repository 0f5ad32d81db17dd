"""A kernel as a vertical and a horizontal pass over each channel, with the parts of the layer's geometry that go with their axes.

A kernel of one row or one column is one pass: the other would multiply by a number, which goes into this one.
"""
from __future__ import annotations

import numpy as np

from ..layer import Layer


def pass_shapes(layer: Layer, channels: int) -> tuple[tuple[int, int, int, int], ...]:
    """OIHW shapes of the depthwise stages."""
    return tuple((channels, 1, *kernel) for kernel in _kernels(layer))


def pass_geometries(layer: Layer, groups: int) -> tuple[dict, ...]:
    """Stride, padding, dilation and groups of each pass, as keywords of Stage."""
    if len(_kernels(layer)) == 1:
        return ({"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": groups},)
    top, left, bottom, right = layer.padding
    return (
        {"stride": (layer.stride[0], 1), "padding": (top, 0, bottom, 0), "dilation": (layer.dilation[0], 1), "groups": groups},
        {"stride": (1, layer.stride[1]), "padding": (0, left, 0, right), "dilation": (1, layer.dilation[1]), "groups": groups},
    )


def pass_weights(vertical: np.ndarray, horizontal: np.ndarray) -> tuple[np.ndarray, ...]:
    """The stages' weights from the columns (channels x Y) and the rows (channels x X) of the kernels."""
    if vertical.shape[1] == 1 or horizontal.shape[1] == 1:
        both = vertical[:, :, None] * horizontal[:, None]
        return (both[:, None],)
    return vertical[:, None, :, None], horizontal[:, None, None, :]


def identity_geometries(layer: Layer, groups: int) -> tuple[dict, ...]:
    """Geometry of a vertical and a horizontal pass that keep the size of the image, with the taps of the layer's kernel."""
    found = []
    for kernel in _kernels(layer):
        before = [d * ((n - 1) // 2) for n, d in zip(kernel, layer.dilation, strict=True)]
        after = [d * (n // 2) for n, d in zip(kernel, layer.dilation, strict=True)]
        dilation = tuple(d if n > 1 else 1 for n, d in zip(kernel, layer.dilation, strict=True))
        found.append({"stride": (1, 1), "padding": (*before, *after), "dilation": dilation, "groups": groups})
    return tuple(found)


def identity_weights(layer: Layer, channels: int) -> tuple[np.ndarray, ...]:
    """Weights of passes that change nothing: one tap is 1, where `identity_geometries` puts it on the pixel itself."""
    vertical, horizontal = (np.zeros((channels, n)) for n in layer.kernel)
    for line in (vertical, horizontal):
        line[:, (line.shape[1] - 1) // 2] = 1.0
    return pass_weights(vertical, horizontal)


def _kernels(layer: Layer) -> tuple[tuple[int, int], ...]:
    y, x = layer.kernel
    return ((y, x),) if min(y, x) == 1 else ((y, 1), (1, x))
