"""Which nodes of a layer are to go: Çallı (2017), sections 2.1.2 and 3.1.

A criterion takes the statistics of a layer's inputs, and gives a truth value for each node.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .statistics import NodeStatistics

Criterion = Callable[[NodeStatistics], np.ndarray]


def never_active(threshold: float = 0.0) -> Criterion:
    """Nodes that are active no oftener than a threshold, of 1: "the nodes that were not being activated" (section 3.1.1)."""
    return lambda statistics: statistics.active <= threshold


def of_no_variance(threshold: float = 0.0) -> Criterion:
    """Nodes whose variance is no larger than a threshold: "that had zero variance in values" (section 3.1.1)."""
    return lambda statistics: statistics.variance <= threshold


def within_range(factor: float = 2.0) -> Criterion:
    """Nodes whose count of activations lies outside mean +- factor variance of the layer's: too seldom or too often (section 2.1.2)."""

    def criterion(statistics: NodeStatistics) -> np.ndarray:
        counts = statistics.active
        return np.abs(counts - counts.mean()) > factor * counts.var()

    return criterion


def outliers(factor: float = 2.0, removed: str = "inside") -> Criterion:
    """The rule of section 3.1.2, on the variances v of a layer's nodes: mean(v) - 2 var(v) < x < mean(v) + 2 var(v).

    Parameters
    ----------
    factor : float
        2.
    removed : str
        ``inside``: nodes within these boundaries go. So it is printed: "removing the nodes that are not outside these boundaries".
        ``outside``: the others go, which is what selecting outliers would usually mean.
    """

    def criterion(statistics: NodeStatistics) -> np.ndarray:
        v = statistics.variance
        inside = np.abs(v - v.mean()) < factor * v.var()
        return inside if removed == "inside" else ~inside

    return criterion


def all_of(*criteria: Criterion) -> Criterion:
    """Nodes that every one of the criteria would remove."""
    return lambda statistics: np.logical_and.reduce([criterion(statistics) for criterion in criteria])
