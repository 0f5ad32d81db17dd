"""A basis of separable filters for each input channel: depthwise Y x 1 and 1 x X with M filters a channel, then pointwise C M -> F.

Source: Jaderberg, Vedaldi and Zisserman 2014, "Speeding up convolutional neural networks with low rank expansions", scheme 1
(section 2.1): every filter is a mixture of the basis filters of its channel. For each channel that is a CP of rank M of its F x Y x X
slice, so the factors are found as for `cp`, all channels at once.

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


class SeparableBasis(Polyadic):
    """M filters a channel, up to Y X, where single taps are a basis.

    C M Y MACs for a pixel after the vertical stage, C M (X + F) for a pixel of the output.
    """

    name = "separable_basis"
    algebra = "W[f,c,y,x] ~ sum_m A[f,c,m] H[c,m,x] V[c,m,y]"

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        return (layer.kernel[0] * layer.kernel[1],)

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        filters = layer.in_channels * ranks[0]
        return *pass_shapes(layer, filters), (layer.out_channels, filters, 1, 1)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        mixtures, vertical, horizontal = separable_bases(weight, ranks[0])
        vertical, horizontal = (lines.swapaxes(1, 2).reshape(-1, lines.shape[1]) for lines in (vertical, horizontal))
        return *pass_weights(vertical, horizontal), mixtures.transpose(1, 0, 2).reshape(len(weight), -1)[:, :, None, None]

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        first, *rest = pass_geometries(layer, layer.in_channels)
        return first, *({**geometry, "groups": layer.in_channels * ranks[0]} for geometry in rest), {}


def separable_bases(weight: np.ndarray, filters: int) -> tuple[np.ndarray, ...]:
    """Fit separable filters, and mixtures of them, to the slice of each input channel of an OIHW weight.

    Parameters
    ----------
    weight
        F x C x Y x X.
    filters
        M, from 1 to Y X.

    Returns
    -------
    mixtures, vertical, horizontal
        C x F x M, C x Y x M and C x X x M, float64.
    """
    f, c, y, x = weight.shape
    # All that matters of the F slices of a channel are their inner products: a triangle of at most Y X rows has the same.
    outputs, triangles = np.linalg.qr(weight.astype(np.float64).transpose(1, 0, 2, 3).reshape(c, f, y * x))
    norms = np.linalg.norm(triangles, axis=(1, 2))
    norms[norms == 0] = 1.0
    tensors = (triangles / norms[:, None, None]).reshape(c, -1, 1, y, x)
    mixtures, scales, vertical, horizontal = stable_cp(tensors, filters)
    share = np.cbrt(norms)[:, None, None]
    return outputs @ (mixtures * scales) * share, vertical * share, horizontal * share
