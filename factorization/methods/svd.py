"""Truncated SVD of a dense layer: W ~ U V, a dense layer C -> K, then one K -> F.

Source: Denton et al. 2014, section 3.2.1, in the covariance metric (equation 3) of the whitened matrix; Callı, section 2.2.1.
"""
from __future__ import annotations

import numpy as np

from ..layer import Layer
from ..method import Shapes, SpectralMethod
from ..metrics import Metric
from ..solvers.linalg import best_product, squared_singular_values


class Svd(SpectralMethod):
    """Rank K up to min(F, C). K (C + F) MACs a row where the layer has C F."""

    name = "svd"
    kind = "dense"
    algebra = "W[f,c] ~ sum_k U[f,k] V[k,c]"
    metrics = ("frobenius", "covariance")

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        return (min(layer.weight_shape),)

    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        return (squared_singular_values(weight),)

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        return (ranks[0], layer.in_channels, 1, 1), (layer.out_channels, ranks[0], 1, 1)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        left, right = best_product(weight, ranks[0], metric)
        return right[:, :, None, None], left[:, :, None, None]

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {}, {}
