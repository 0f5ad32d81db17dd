"""What may be done to weights before they are factored: weights in, weights of the same shape out.

Source: Çallı, sections 2.1.1 (pruning connections), 2.2.2 (weight clustering) and 2.4.3, in the hope that zeros and repeated values
leave a lower rank. The thesis found no factorization that this made faster at the same accuracy.
"""
from __future__ import annotations

import numpy as np

_ITERATIONS = 300


def prune_connections(weight: np.ndarray, deviations: float = 0.25) -> np.ndarray:
    """Set the weights of small magnitude to 0.

    Parameters
    ----------
    weight
        Any shape.
    deviations
        The threshold is the magnitude of the weights' mean plus so many of their standard deviations. Section 2.1.1 makes it of mean and
        variance, so that each layer has its own, and gives no formula.

    Returns
    -------
    ndarray
        float32.

    Raises
    ------
    ValueError
        When deviations is negative or not finite.
    """
    if not 0 <= deviations < np.inf:
        raise ValueError(f"{deviations} standard deviations: a finite number of at least 0 was expected")
    threshold = abs(weight.mean(dtype=np.float64)) + deviations * weight.std(dtype=np.float64)
    return np.where(np.abs(weight) < threshold, 0, weight).astype(np.float32)


def round_weights(weight: np.ndarray, decimals: int = 2) -> np.ndarray:
    """Round each weight to so many decimals, float32.

    The thesis rounds "after the second decimal". That is a matter of scale: of a layer whose weights are all below 0.005, two
    decimals leave nothing.
    """
    return np.round(weight.astype(np.float64), decimals).astype(np.float32)


def cluster_weights(weight: np.ndarray, count: int) -> np.ndarray:
    """Replace each weight by the nearest of ``count`` values, found by k-means (Lloyd) from evenly spread quantiles.

    Parameters
    ----------
    weight
        Any shape, finite.
    count
        Of distinct values, at least 1.

    Returns
    -------
    ndarray
        float32, at most ``count`` distinct values: each is the mean of the weights that it stands for.

    Raises
    ------
    ValueError
        For a count below 1.
    """
    if count < 1:
        raise ValueError(f"{count} clusters: at least 1 was expected")
    values = np.sort(weight.astype(np.float64), axis=None)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    centres = np.unique(np.quantile(values, (np.arange(count) + 0.5) / count))
    for _ in range(_ITERATIONS):
        edges = np.concatenate(([0], np.searchsorted(values, (centres[:-1] + centres[1:]) / 2), [len(values)]))
        sizes = np.diff(edges)
        means = np.where(sizes > 0, np.diff(sums[edges]) / np.maximum(sizes, 1), centres)  # on a line clusters are intervals
        if np.array_equal(means, centres):
            break
        centres = means
    nearest = np.searchsorted((centres[:-1] + centres[1:]) / 2, weight.astype(np.float64))
    return centres[nearest].astype(np.float32)
