"""Colours and planes: filters W[f] ~ colour[k] x plane[f], where equally many filters share each of a few colours, in any metric.

With the colours held, the planes and what each filter would keep of its norm at each colour are known; with these, the best assignment of
filters to colours; with the planes held, the colours. Each step is the best answer to the two others, so the error only falls.
"""
from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..metrics import Covariance, Mahalanobis, Metric
from .clusters import balanced_assignment, subspace_clusters
from .linalg import damped

MAX_ITERATIONS = 30
TOLERANCE = 1e-7  # gain of one iteration, as a part of the weight's squared norm, below which it has converged


class Fit(ABC):
    """The answers in one metric, for a weight F x C x P, float64. Colours, K x C, have length 1."""

    def __init__(self, weight: np.ndarray, seen: np.ndarray):
        self.weight = weight
        self.seen = seen  # the weight times the quadratic form of the metric
        self.norm = float(np.vdot(seen, weight))  # squared

    @abstractmethod
    def planes(self, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best planes, F x K x P, and how much of its squared norm each filter keeps with each, F x K."""

    @abstractmethod
    def colours(self, members: np.ndarray, planes: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """Fit the colours to their filters. They are no worse than those given, and may have any length.

        Parameters
        ----------
        members : ndarray of int, K x F/K
            The filters of each colour.
        planes : ndarray, F x P
            The plane of each filter.
        colours : ndarray, K x C
            Those to improve on.
        """


class FrobeniusFit(Fit):
    """Singular vectors."""

    def __init__(self, weight: np.ndarray):
        super().__init__(weight, weight)

    def planes(self, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        planes = np.matmul(colours, self.weight)
        return planes, np.square(planes).sum(axis=2)

    def colours(self, members: np.ndarray, planes: np.ndarray, colours: np.ndarray) -> np.ndarray:
        return leading_colours(self.weight[members].transpose(0, 2, 1, 3).reshape(*colours.shape, -1))


class MahalanobisFit(Fit):
    """Weighted least squares, element by element."""

    def __init__(self, weight: np.ndarray, metric: Mahalanobis):
        self.squared = np.square(metric.alpha.reshape(weight.shape), dtype=np.float64)
        super().__init__(weight, self.squared * weight)

    def planes(self, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right, normal = np.matmul(colours, self.seen), np.matmul(np.square(colours), self.squared)
        planes = _ratio(right, normal)
        return planes, (planes * right).sum(axis=2)

    def colours(self, members: np.ndarray, planes: np.ndarray, colours: np.ndarray) -> np.ndarray:
        right, normal = np.matmul(self.seen, planes[..., None])[..., 0], np.matmul(self.squared, np.square(planes)[..., None])[..., 0]
        return _ratio(right[members].sum(axis=1), normal[members].sum(axis=1))


class CovarianceFit(Fit):
    """Least squares under the moment S of the data. Planes and colours step from where they would be, or are, without it: see `damped`."""

    def __init__(self, weight: np.ndarray, metric: Covariance):
        filters, channels, taps = weight.shape
        super().__init__(weight, (weight.reshape(filters, -1) @ metric.moment).reshape(weight.shape))
        moment = metric.moment.reshape(channels, taps, channels, taps).transpose(0, 2, 1, 3)
        self.moment = np.ascontiguousarray(moment).reshape(channels**2, taps**2)

    def planes(self, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        plain, right, taps = np.matmul(colours, self.weight), np.matmul(colours, self.seen), self.weight.shape[2]
        normal = (_squares(colours) @ self.moment).reshape(-1, taps, taps)
        step = np.linalg.solve(damped(normal), (right.transpose(1, 2, 0) - normal @ plain.transpose(1, 2, 0)))
        planes = plain + step.transpose(2, 0, 1)
        predicted = np.matmul(normal, planes.transpose(1, 2, 0)).transpose(2, 0, 1)
        return planes, (planes * (2 * right - predicted)).sum(axis=2)

    def colours(self, members: np.ndarray, planes: np.ndarray, colours: np.ndarray) -> np.ndarray:
        among, channels = planes[members], self.weight.shape[1]
        normal = (np.matmul(among.transpose(0, 2, 1), among).reshape(len(members), -1) @ self.moment.T).reshape(-1, channels, channels)
        right = np.einsum("kfcp,kfp->kc", self.seen[members], among, optimize=True)[..., None]
        return colours + np.linalg.solve(damped(normal), right - normal @ colours[..., None])[..., 0]


def shared_colours(weight: np.ndarray, count: int, metric: Metric) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find colours, the filters of each, and their planes.

    Parameters
    ----------
    weight
        F x C x P, float64.
    count
        Of colours; it divides F.
    metric
        For the weight.

    Returns
    -------
    colours, members, planes
        K x C; K x F/K int, the filters of each colour; and F x P, the plane of every filter.
    """
    plain, main = FrobeniusFit(weight), leading_colours(weight)
    members = subspace_clusters(main @ main.T, count, dimensions=(1,))
    anything = np.ones((count, weight.shape[1]))
    found = _alternate(plain, _unit(plain.colours(members, weight[:, 0], anything), anything))
    if isinstance(metric, Mahalanobis):
        found = _alternate(MahalanobisFit(weight, metric), found[0])
    elif isinstance(metric, Covariance):
        found = _alternate(CovarianceFit(weight, metric), found[0])
    return found


def leading_colours(filters: np.ndarray) -> np.ndarray:
    """The leading left singular vector of each of n x C x P, times its singular value: n x C."""
    if filters.shape[1] > filters.shape[2]:
        return np.matmul(filters, np.linalg.eigh(filters.transpose(0, 2, 1) @ filters)[1][:, :, -1:])[..., 0]
    values, vectors = np.linalg.eigh(filters @ filters.transpose(0, 2, 1))
    return vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], 0.0))


def _alternate(fit: Fit, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit planes and clusters, then colours, in turns, until a turn gains less than the tolerance."""
    everyone, kept = np.arange(len(fit.weight)), -np.inf
    found: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    for _ in range(MAX_ITERATIONS):
        planes, gains = fit.planes(colours)
        labels = balanced_assignment(-gains)
        before, kept = kept, gains[everyone, labels].sum()
        if found is not None and kept < before:
            break
        members, chosen = np.argsort(labels, kind="stable").reshape(len(colours), -1), planes[everyone, labels]
        found = colours, members, chosen
        if kept - before <= TOLERANCE * fit.norm:
            break
        colours = _unit(fit.colours(members, chosen, colours), colours)
    assert found is not None  # the first turn always finds
    return found


def _unit(vectors: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of zeros are taken from ``instead``, and made so."""
    vectors = np.where(vectors.any(axis=1, keepdims=True), vectors, instead)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _squares(vectors: np.ndarray) -> np.ndarray:
    """The outer product of each row with itself, flat."""
    return (vectors[:, :, None] * vectors[:, None]).reshape(len(vectors), -1)


def _ratio(right: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.divide(right, normal, out=np.zeros_like(right), where=normal > 0)
