"""Fewer filters, then their mixtures: a Y x X convolution C -> K, then a pointwise one K -> F.

Source: Denton et al. 2014, section 3.2.2 (fold the tensor, then SVD); the form is Zhang et al. 2015, without its
response statistics. The least error is the truncated SVD of the weight folded into an F x (C Y X) matrix, whitened by the second moment of
the patches in the covariance metric (Denton, equation 3).

Stride, padding and dilation all go to the first stage.
"""
from __future__ import annotations

import numpy as np

from ..layer import Layer
from ..method import Shapes, SpectralMethod
from ..metrics import Metric
from ..solvers.linalg import best_product, squared_singular_values


class ChannelSvd(SpectralMethod):
    """Rank K up to min(F, C Y X). K (C Y X + F) MACs for a pixel of the output where the layer has F C Y X."""

    name = "channel_svd"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ sum_k P[f,k] B[k,c,y,x]"
    metrics = ("frobenius", "covariance")

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        f, c, y, x = layer.weight_shape
        return (min(f, c * y * x),)

    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        return (squared_singular_values(weight.reshape(len(weight), -1)),)

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        return (ranks[0], c, y, x), (f, ranks[0], 1, 1)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        left, right = best_product(weight.reshape(len(weight), -1), ranks[0], metric)
        return right.reshape(-1, *weight.shape[1:]), left[:, :, None, None]

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}, {}
