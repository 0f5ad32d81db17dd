"""Network decoupling: a sum of depthwise separable convolutions, depthwise Y x X and pointwise, in either order.

Source: Guo, Li, Lin and Chen 2018, "Network decoupling: from regular to depthwise separable convolutions". The sum of T pairs of a
depthwise and a pointwise convolution is one depthwise convolution with T filters a channel and one pointwise convolution. The least
Frobenius error is the truncated SVD of each input channel's slice, F x (Y X), or of each output channel's, C x (Y X), and at full rank
the chain equals the layer.

Stride, padding and dilation all go to the depthwise stage.
"""
from __future__ import annotations

import numpy as np

from ..layer import Layer
from ..method import Shapes, SpectralMethod
from ..metrics import Metric
from ..solvers.linalg import squared_singular_values, truncated_svd


class Decoupled(SpectralMethod):
    """T pairs, depthwise first, up to min(F, Y X): C T (Y X + F) MACs for a pixel of the output."""

    name = "decoupled"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ sum_t P[f,c,t] D[c,t,y,x]"

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        f, c, y, x = layer.weight_shape
        return (min(f, y * x),)

    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        return (sum((squared_singular_values(slice_) for slice_ in _slices(weight.swapaxes(0, 1))), start=np.zeros(())),)

    def _refuse(self, layer: Layer) -> str | None:
        return "1 x 1 kernel: it is pointwise already, channel_svd applies" if layer.kernel == (1, 1) else None

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        filters = layer.in_channels * ranks[0]
        return (filters, 1, *layer.kernel), (layer.out_channels, filters, 1, 1)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        f, c, y, x = weight.shape
        mixtures, filters = _truncated(weight.swapaxes(0, 1), ranks[0])
        return filters.reshape(-1, 1, y, x), mixtures.transpose(1, 0, 2).reshape(f, -1)[:, :, None, None]

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.in_channels}, {}


class DecoupledPointwiseFirst(SpectralMethod):
    """T pairs, pointwise first, up to min(C, Y X): F T C MACs for a pixel of the input, F T Y X for one of the output.

    The pointwise stage makes T channels for each output channel, and one convolution with F groups filters and adds them.
    """

    name = "decoupled_pointwise_first"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ sum_t D[f,t,y,x] P[f,t,c]"

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        f, c, y, x = layer.weight_shape
        return (min(c, y * x),)

    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        return (sum((squared_singular_values(slice_) for slice_ in _slices(weight)), start=np.zeros(())),)

    def _refuse(self, layer: Layer) -> str | None:
        return "1 x 1 kernel: it is pointwise already, channel_svd applies" if layer.kernel == (1, 1) else None

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        return (f * ranks[0], c, 1, 1), (f, ranks[0], y, x)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        f, c, y, x = weight.shape
        mixtures, filters = _truncated(weight, ranks[0])
        return mixtures.swapaxes(1, 2).reshape(-1, c)[:, :, None, None], filters.reshape(f, -1, y, x)

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {}, {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.out_channels}


def _slices(weight: np.ndarray) -> np.ndarray:
    """A x B x Y x X to A matrices of B x (Y X)."""
    return weight.reshape(*weight.shape[:2], -1)


def _truncated(weight: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The SVD of each slice: A x B x T and A x T x (Y X)."""
    pairs = [truncated_svd(slice_, rank) for slice_ in _slices(weight)]
    return np.stack([left for left, _ in pairs]), np.stack([right for _, right in pairs])
