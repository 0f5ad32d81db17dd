"""SVD of dense layers and convolutions to the smallest rank within an error.

Source: Çallı, sections 2.2.1 and 2.4.3: lower the rank one by one while the mean squared error of the weights stays within a threshold,
then factor if that is fewer multiplications (equation 2.1). The squared error of a rank is the sum of the squares of the singular values
that it leaves out, so no matrix has to be composed to find it.
"""
from __future__ import annotations

import numpy as np

from ..support.errors import Refusal
from .choice import Choice
from .conditions import svd_rank_bound
from .layer import Layer
from .method import SpectralMethod
from .registry import METHODS


def rank_within(squared: np.ndarray, allowed: float) -> int:
    """The fewest leading singular values whose rest has a sum of squares of at most ``allowed``; at least 1.

    Parameters
    ----------
    squared
        The squares of all singular values, falling.
    """
    lost = np.append(np.cumsum(np.asarray(squared, np.float64)[::-1])[::-1], 0.0)  # lost[r]: what rank r leaves out
    return max(1, int(np.argmax(lost <= allowed)))


def choose_by_error(layer: Layer, weight: np.ndarray, threshold: float) -> Choice | Refusal:
    """SVD of a layer to the smallest rank whose mean squared error per weight is at most ``threshold``.

    A dense layer becomes two (``svd``). The matrix of a convolution is C Y X x F, so it becomes a convolution and a pointwise one
    (``channel_svd``).

    Parameters
    ----------
    layer, weight
        As of `Method.factorize`.
    threshold
        Mean squared error of the weights, at least 0.

    Returns
    -------
    Choice or Refusal
        A refusal where the method does not apply, or the rank is above the bound of equation 2.1.

    Raises
    ------
    ValueError
        For a negative threshold, or a weight that does not fit the layer or is not finite.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold {threshold} must be at least 0")
    method = METHODS["svd" if layer.kind == "dense" else "channel_svd"]
    assert isinstance(method, SpectralMethod)
    refusal = method.check(layer)
    if refusal is not None:
        return refusal
    if weight.shape != layer.weight_shape or not np.isfinite(weight).all():
        raise ValueError(f"layer {layer.name!r}: the weight does not fit the layer, or holds NaN or infinite values")
    (squared,) = method.spectra(weight)
    rank = rank_within(squared, threshold * weight.size)
    bound = svd_rank_bound(weight[0].size, len(weight))
    if rank > bound:
        return Refusal(f"a mean squared error of {threshold:g} needs rank {rank}; above {bound} the factors cost more than the layer")
    return Choice(method.name, (rank,))
