"""Ranks by variational Bayes: how many singular values of a matrix stand out of its noise.

Source: Nakajima, Sugiyama, Babacan and Tomioka 2013, "Global analytic solution of fully-observed variational Bayesian matrix
factorization", empirical VB: with noise of a known variance the solution keeps the singular values above a threshold, and the variance
itself is the minimum of a function of one variable. Kim et al. 2016, section 3.2, take the ranks of Tucker-2 from it.

A suggestion: it knows nothing of the data, the network's accuracy or the target, and trained weights are no low rank plus white noise.
"""
from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from .linalg import squared_singular_values


def suggested_ranks(weight: np.ndarray) -> tuple[int, int]:
    """Ranks for ``tucker2``: those of the unfoldings of the input and of the output channels.

    Parameters
    ----------
    weight
        F x C x Y x X.

    Returns
    -------
    tuple of int
        K1 of the input channels, K2 of the output channels, each at least 1.
    """
    ranks = []
    for mode in (1, 0):
        unfolded = np.moveaxis(weight, mode, 0).reshape(weight.shape[mode], -1)
        ranks.append(max(1, rank_above_noise(squared_singular_values(unfolded), max(unfolded.shape))))
    return ranks[0], ranks[1]


def rank_above_noise(squared: np.ndarray, longer: int, variance: float | None = None) -> int:
    """The rank of the empirical VB solution.

    Parameters
    ----------
    squared
        The squares of all singular values of an L x M matrix, L <= M, falling.
    longer
        M.
    variance
        Of the noise in each entry; estimated where it is None.
    """
    squared = np.asarray(squared, np.float64)
    if squared[0] <= 0:
        return 0
    squared = np.maximum(squared, np.finfo(np.float32).eps ** 2 * squared[0])  # what float32 weights leave of a zero
    limit = _limit(len(squared) / longer)
    variance = noise_variance(squared, longer) if variance is None else variance
    return int(np.sum(squared > longer * variance * limit))


def noise_variance(squared: np.ndarray, longer: int) -> float:
    """The variance of the noise in each entry: where the free energy, a function of it alone, is least.

    Parameters
    ----------
    squared, longer
        As of `rank_above_noise`; all squares above 0.
    """
    shorter = len(squared)
    ratio = shorter / longer
    limit = _limit(ratio)
    first = min(int(np.ceil(shorter / (1 + ratio))) - 1, shorter - 1)  # so many components at most can be signal
    upper = squared.sum() / (shorter * longer)
    lower = max(squared[first] / (longer * limit), squared[first:].mean() / longer)

    def energy(log_variance: float) -> float:
        x = squared / (longer * np.exp(log_variance))
        signal = x[x > limit]
        tau = _tau(signal, ratio)
        return float(np.sum(x - np.log(x)) + np.sum(np.log1p(tau) + ratio * np.log1p(tau / ratio) - tau))

    if not lower < upper:
        return float(upper)
    return float(np.exp(minimize_scalar(energy, bounds=(np.log(lower), np.log(upper)), method="bounded", options={"xatol": 1e-9}).x))


def _limit(ratio: float) -> float:
    """The threshold on a squared singular value over M and the noise's variance, for a ratio L / M.

    (1 + t) (1 + ratio / t), where t is the zero of Phi(t) + Phi(t / ratio), Phi(z) = log(z + 1) / z - 1/2: about 2.5129 sqrt(ratio).
    """

    def phi(z: float) -> float:
        return np.log1p(z) / z - 0.5

    guess = 2.5129 * np.sqrt(ratio)
    tau = brentq(lambda t: phi(t) + phi(t / ratio), guess / 4, guess * 4)
    return (1 + tau) * (1 + ratio / tau)


def _tau(x: np.ndarray, ratio: float) -> np.ndarray:
    free = x - (1 + ratio)
    return 0.5 * (free + np.sqrt(np.maximum(free * free - 4 * ratio, 0.0)))
