"""The filters of the first layer in RGB space, before and after the monochromatic form.

Source: Denton et al. 2014, figure 2: every tap of every filter is a point in the space of the three input channels, in the colour of its
filter. The monochromatic form puts the points of each filter on a line.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..factorization import METHODS, Layer
from ..support.errors import TenfoldError
from .canvas import panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHOD = "monochromatic"
COLOURS = 6  # in the middle of the paper's range, 4 to 12


def first_layer(layers: Sequence[Layer]) -> Layer:
    """The first convolution of three channels; TenfoldError if there is none."""
    for layer in layers:
        if layer.kind == "conv2d" and layer.in_channels == 3 and layer.groups == 1:
            return layer
    raise TenfoldError("no convolution of the network reads the three channels of an image: its filters have no colours to show")


def usual_colours(layer: Layer) -> int:
    """The number nearest to the paper's 6 that divides the filters."""
    return min((n for n in range(1, layer.out_channels + 1) if layer.out_channels % n == 0), key=lambda n: (abs(n - COLOURS), n))


def points(weight: np.ndarray) -> np.ndarray:
    """F x 3 x Y x X -> F x (Y X) x 3: the taps of each filter in RGB space."""
    return weight.reshape(*weight.shape[:2], -1).transpose(0, 2, 1)


def monochromatic(layer: Layer, weight: np.ndarray, colours: int) -> np.ndarray:
    """Kernel of the layer's monochromatic form; TenfoldError if there is none with so many colours.

    Parameters
    ----------
    layer : Layer
        The convolution.
    weight : ndarray, OIHW
    colours : int
        It has to divide the filters.
    """
    try:
        return METHODS[METHOD].factorize(weight, layer, (colours,)).reconstruct()
    except ValueError as error:
        raise TenfoldError(f"layer {layer.name!r}: {error}") from None


def draw(layer: Layer, weight: np.ndarray, colours: int | None = None) -> Figure:
    """Draw two panels in three dimensions: the filters as they are, and in the monochromatic form.

    Parameters
    ----------
    layer : Layer
        The first convolution.
    weight : ndarray, F x 3 x Y x X
    colours : int, optional
        Of the monochromatic form; default: `usual_colours`.
    """
    colours = usual_colours(layer) if colours is None else colours
    kernels = {"original": weight, f"monochromatic, {colours} colours": monochromatic(layer, weight, colours)}
    figure, axes = panels(2, projection="3d")
    reach = float(np.abs(weight).max())
    shades = np.linspace(0, 1, len(weight))
    for panel, (title, kernel) in zip(axes, kernels.items(), strict=True):
        cloud = points(kernel)
        shade = np.repeat(shades, cloud.shape[1])
        red, green, blue = cloud.reshape(-1, 3).T
        panel.scatter(red, green, zs=blue, c=shade, cmap="hsv", s=3)
        bounds = dict.fromkeys(("xlim", "ylim", "zlim"), (-reach, reach))
        panel.set(title=title, xlabel="red", ylabel="green", zlabel="blue", **bounds)
    return figure
