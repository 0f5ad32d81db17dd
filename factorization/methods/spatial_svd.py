"""Separable filters across channels: a Y x 1 convolution C -> K, then a 1 x X convolution K -> F.

Source: Jaderberg, Vedaldi and Zisserman 2014, scheme 2 (section 2.2). The least Frobenius error is the truncated SVD of the
weight folded into a (C Y) x (F X) matrix. In the covariance metric, which has no closed form, both stages are fitted jointly to the layer's
response, as in the paper's data reconstruction: alternating least squares (`chain_als`) from the truncated SVD that is best where the
covariance is a product of one over (c, y) and one over x.

Stride, padding and dilation go with their axis: the vertical ones to the first stage, the horizontal ones to the second.
"""
from __future__ import annotations

import numpy as np

from ..chain import FactorChain
from ..layer import Layer
from ..method import Shapes, SpectralMethod
from ..metrics import Covariance, Metric
from ..solvers.chain_als import chain_als
from ..solvers.linalg import squared_singular_values, truncated_svd


class SpatialSvd(SpectralMethod):
    """Rank K up to min(C Y, F X). K C Y MACs for a pixel between the stages and F K X for a pixel of the output."""

    name = "spatial_svd"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ sum_k H[f,k,x] V[k,c,y]"
    metrics = ("frobenius", "covariance")

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
        if isinstance(metric, Covariance):
            return _unfold(*_whitened(weight, metric, ranks[0]), weight.shape)
        return _unfold(*truncated_svd(_fold(weight), ranks[0]), weight.shape)

    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        chain = super()._fit(weight, layer, ranks, metric)
        return chain_als(chain, weight, metric) if isinstance(metric, Covariance) else chain

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


def _unfold(left: np.ndarray, right: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(C Y) x K and K x (F X) to the weights of the stages."""
    f, c, y, x = shape
    return left.reshape(c, y, -1).transpose(2, 0, 1)[:, :, :, None], right.reshape(-1, f, x).transpose(1, 0, 2)[:, :, None, :]


def _whitened(weight: np.ndarray, metric: Covariance, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best product where the covariance is the product A of (c, y) and B of x that is nearest to it."""
    roots, folded = metric.whitener(weight.shape[3]), _fold(weight).astype(np.float64)
    whitened = (roots.a @ folded).reshape(-1, weight.shape[3]) @ roots.b
    left, right = truncated_svd(whitened.reshape(folded.shape), rank)
    return roots.a_inverse @ left, (right.reshape(-1, weight.shape[3]) @ roots.b_inverse).reshape(right.shape)
