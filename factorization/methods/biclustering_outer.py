"""Biclustering, and a sum of K outer products for each pair of clusters (G x H blocks).

    grouped pointwise (G) C -> G H K, depthwise Y x X, grouped pointwise (H) G H K -> F

Source: Denton et al. 2014, sections 3.2.2 (equations 4 and 5) and 3.4. Blocks are folded to C/G x (Y X) x F/H.
"""
from __future__ import annotations

import numpy as np
import scipy.linalg

from ..layer import Layer
from ..method import Shapes
from ..solvers.biclustering_fit import Form
from ..solvers.outer_products import outer_products
from .biclustering import Biclustering, blocks_geometry, largest_divisor


class OuterProducts(Form):
    """Middle K x P, K1 = K2 = K."""

    def factors(self, blocks: np.ndarray, ranks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, middle, last = outer_products(np.ascontiguousarray(blocks.transpose(0, 2, 3, 1)), *ranks)
        return first.transpose(0, 2, 1), middle.transpose(0, 2, 1), last

    def features(self, first: np.ndarray, middle: np.ndarray) -> np.ndarray:
        return first[..., None] * middle[..., None, :]

    def middle_step(self, first: np.ndarray, pull: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        rank, taps = len(first), pull.shape[2]
        normal = inputs.reshape(rank, taps, rank, taps) * outputs[:, None, :, None]
        right = np.einsum("kcp,kc->kp", pull, first)
        return scipy.linalg.solve(normal.reshape(rank * taps, -1), right.ravel(), assume_a="pos").reshape(rank, taps)


class BiclusteringOuter(Biclustering):
    """Ranks G, H, and K up to the product of the two smaller of C/G, F/H and Y X.

    H K C MACs for a pixel of the input, G H K Y X + G K F for a pixel of the output.
    """

    name = "biclustering_outer"
    algebra = "W[f,c,y,x] ~ sum_k c[f,k] b[k,y,x] a[k,c] for f in cluster h, c in cluster g: K terms of their own for each g,h"
    _form = OuterProducts()

    def _block_limits(self, filters: int, channels: int, taps: int) -> tuple[int, ...]:
        return (filters * channels * taps // max(filters, channels, taps),)

    def _usual_limits(self, filters: int, channels: int, taps: int) -> tuple[int, ...]:
        """Not more than channels in the larger cluster: beyond, factoring takes long and the other forms are nearer at their cost."""
        return (min(*self._block_limits(filters, channels, taps), max(filters, channels)),)

    def _usual_clusters(self, layer: Layer) -> list[tuple[int, int]]:
        h = largest_divisor(layer.out_channels, 2)
        return sorted({(largest_divisor(layer.in_channels, n), h) for n in (2, max(1, layer.in_channels // 2))})

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        g, h, k = ranks
        return (g * h * k, c // g, 1, 1), (g * h * k, 1, y, x), (f, g * k, 1, 1)

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        g, h, k = ranks
        return blocks_geometry(layer, g, g * h * k, h)
