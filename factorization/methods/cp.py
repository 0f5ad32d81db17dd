"""CP over all four modes: pointwise C -> K, depthwise Y x 1, depthwise 1 x X, pointwise K -> F.

Source: Lebedev et al. 2015 ("Speeding-up convolutional neural networks using fine-tuned CP-decomposition", section 3.2). The factors
come from damped and accelerated alternating least squares (`cp_als`) and the error-preserving correction of Phan et al. 2020
(`cp_correction`): terms that would cancel each other are kept from growing.

The vertical stride, padding and dilation go to the Y x 1 stage, the horizontal ones to the 1 x X stage.
"""
from __future__ import annotations

import numpy as np

from ..layer import Layer
from ..method import Shapes
from ..metrics import Metric
from ..solvers.cp_correction import stable_cp
from .polyadic import Polyadic
from .separated import pass_geometries, pass_shapes, pass_weights


class Cp(Polyadic):
    """Rank K up to Y X min(F, C), where a singular value decomposition of each tap's F x C matrix is a CP that meets the weight exactly.

    K C MACs for a pixel of the input, K Y for a pixel after the vertical stage, K (X + F) for a pixel of the output.

    The error at a rank is not the least possible one, which no algorithm finds for certain, but at most that of K orthogonal terms
    (`cp_als.initial_terms`).
    """

    name = "cp"
    algebra = "W[f,c,y,x] ~ sum_k A[f,k] H[k,x] V[k,y] B[k,c]"

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        f, c, y, x = layer.weight_shape
        return (y * x * min(f, c),)

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        (k,) = ranks
        return (k, layer.in_channels, 1, 1), *pass_shapes(layer, k), (layer.out_channels, k, 1, 1)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        outputs, inputs, vertical, horizontal = canonical_polyadic(weight, ranks[0])
        return inputs.T[:, :, None, None], *pass_weights(vertical.T, horizontal.T), outputs[:, :, None, None]

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {}, *pass_geometries(layer, ranks[0]), {}


def canonical_polyadic(weight: np.ndarray, rank: int) -> tuple[np.ndarray, ...]:
    """CP of an OIHW tensor whose rank-one terms are of small norm.

    Parameters
    ----------
    weight
        F x C x Y x X.
    rank
        From 1 to Y X min(F, C).

    Returns
    -------
    outputs, inputs, vertical, horizontal
        F x K, C x K, Y x K and X x K, float64; the norm of each term is spread evenly over its four vectors.
    """
    norm = np.linalg.norm(weight.astype(np.float64)) or 1.0
    factors = stable_cp(weight[None].astype(np.float64) / norm, rank)
    return tuple(factor[0] * norm**0.25 for factor in factors)
