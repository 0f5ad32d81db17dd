"""Separable filters across channels: a Y x 1 convolution C -> K, then a 1 x X convolution K -> F.

Source: Jaderberg, Vedaldi and Zisserman 2014, scheme 2 (section 2.2). The least Frobenius error is the truncated SVD of the
weight folded into a (C Y) x (F X) matrix.

Stride, padding and dilation go with their axis: the vertical ones to the first stage, the horizontal ones to the second.
"""
from __future__ import annotations

import numpy as np

from .layer import Layer
from .linalg import squared_singular_values, truncated_svd
from .method import Method, Shapes
from .metrics import Metric


class SpatialSvd(Method):
    """Rank K up to min(C Y, F X). K C Y MACs for a pixel between the stages and F K X for a pixel of the output."""

    name = "spatial_svd"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ sum_k H[f,k,x] V[k,c,y]"

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        f, c, y, x = layer.weight_shape
        return (min(c * y, f * x),)

    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        return (squared_singular_values(_fold(weight)),)

    def _refuse(self, layer: Layer) -> str | None:
        return "1 x 1 kernel: no rows and columns to separate, channel_svd applies" if layer.kernel == (1, 1) else None

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        return (ranks[0], c, y, 1), (f, ranks[0], 1, x)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        f, c, y, x = weight.shape
        left, right = truncated_svd(_fold(weight), ranks[0])
        vertical = left.reshape(c, y, -1).transpose(2, 0, 1)[:, :, :, None]
        horizontal = right.reshape(-1, f, x).transpose(1, 0, 2)[:, :, None, :]
        return vertical, horizontal

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        top, left, bottom, right = layer.padding
        return (
            {"stride": (layer.stride[0], 1), "padding": (top, 0, bottom, 0), "dilation": (layer.dilation[0], 1)},
            {"stride": (1, layer.stride[1]), "padding": (0, left, 0, right), "dilation": (1, layer.dilation[1])},
        )


def _fold(weight: np.ndarray) -> np.ndarray:
    """F x C x Y x X to (C Y) x (F X)."""
    f, c, y, x = weight.shape
    return weight.transpose(1, 2, 0, 3).reshape(c * y, f * x)
