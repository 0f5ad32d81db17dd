"""Biclustering, and an SVD of an SVD for each pair of clusters (G x H blocks, ranks K1 and K2).

    grouped pointwise (G) C -> G H K1, grouped Y x X (G H) K1 -> K2, grouped pointwise (H) G H K2 -> F

Source: Denton et al. 2014, sections 3.2.2 and 3.4. G = H = 1 is the higher-order SVD by folding of section 3.2.2 alone. Its chain is that
of `Tucker2`, whose factors start from the same idea and are then improved: it is no method of its own here.
"""
from __future__ import annotations

import numpy as np
import scipy.linalg

from ..layer import Layer
from ..method import Shapes
from ..solvers.biclustering_fit import Form
from ..solvers.linalg import leading_vectors
from .biclustering import Biclustering, blocks_geometry, largest_divisor


class FoldedSvd(Form):
    """Middle K2 x K1 x P."""

    def factors(self, blocks: np.ndarray, ranks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, middle, last = zip(*(folded_svd(block, *ranks) for block in blocks), strict=True)
        return np.stack(first), np.stack(middle), np.stack(last)

    def features(self, first: np.ndarray, middle: np.ndarray) -> np.ndarray:
        return np.einsum("...lkp,...kc->...lcp", middle, first, optimize=True)

    def middle_step(self, first: np.ndarray, pull: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        right = np.einsum("lcp,kc->lkp", pull, first, optimize=True)
        half = scipy.linalg.solve(outputs, right.reshape(len(right), -1), assume_a="pos")
        return scipy.linalg.solve(inputs, half.T, assume_a="pos").T.reshape(right.shape)


class BiclusteringSvd(Biclustering):
    """Ranks G, H, K1 up to min(C/G, F/H Y X) and K2 up to min(F/H, C/G Y X).

    H K1 C MACs for a pixel of the input, G H K1 K2 Y X + G K2 F for a pixel of the output.
    """

    name = "biclustering_svd"
    algebra = "W[f,c,y,x] ~ sum_k1,k2 B[f,k2] G[k2,k1,y,x] A[k1,c] for f in cluster h, c in cluster g: factors of their own for each g,h"
    _form = FoldedSvd()

    def _block_limits(self, filters: int, channels: int, taps: int) -> tuple[int, ...]:
        return min(channels, filters * taps), min(filters, channels * taps)

    _usual_limits = _block_limits

    def _usual_clusters(self, layer: Layer) -> list[tuple[int, int]]:
        return sorted({(largest_divisor(layer.in_channels, n), largest_divisor(layer.out_channels, n)) for n in (2, 4)})

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        g, h, k1, k2 = ranks
        return (g * h * k1, c // g, 1, 1), (g * h * k2, k1, y, x), (f, g * k2, 1, 1)

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        g, h = ranks[:2]
        return blocks_geometry(layer, g, g * h, h)


def folded_svd(tensor: np.ndarray, k1: int, k2: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The SVD of a tensor whose outputs and taps are folded together, and of its right factor, folded the other way.

    Parameters
    ----------
    tensor
        F x C x P.
    k1, k2
        Ranks of the first and of the second SVD; up to C and F.

    Returns
    -------
    inputs, core, outputs
        K1 x C with orthonormal rows, K2 x K1 x P, F x K2 with orthonormal columns, float64.
    """
    inputs = leading_vectors(tensor.transpose(1, 0, 2).reshape(tensor.shape[1], -1), k1).T
    narrow = np.matmul(inputs, tensor)
    outputs = leading_vectors(narrow.reshape(len(narrow), -1), k2)
    return inputs, np.tensordot(outputs.T, narrow, 1), outputs
