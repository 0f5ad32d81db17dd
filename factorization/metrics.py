"""Norms of the difference between a weight and its factors: plain, weighted by the data of the layer, or by how much errors hurt.

Source: Denton et al. 2014, section 3.1.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from .solvers.kronecker import Whitener


class Metric(ABC):
    """A norm on the weights of one layer.

    Attributes
    ----------
    name
        As plans write it.
    """

    name: ClassVar[str]

    @abstractmethod
    def norm(self, difference: np.ndarray) -> float:
        """Compute the norm of the difference of two kernels, OIHW."""

    def of_rows(self, order: np.ndarray | slice) -> Metric:
        """Return this metric for kernels whose output channels are in another order."""
        return self


class Frobenius(Metric):
    """The root of the sum of squares: the expected response to white noise."""

    name = "frobenius"

    def norm(self, difference: np.ndarray) -> float:
        """Compute the root of the sum of squares."""
        return float(np.linalg.norm(difference))


class Covariance(Metric):
    """``||W S^(1/2)||_F``: the root of the expected squared response to the inputs that the layer sees (equation 3).

    Parameters
    ----------
    moment
        S, (I H W) x (I H W), symmetric, float64: the mean of p p^T over the patches p that the kernel meets, in the order of
        a flattened OIHW weight.
    """

    name = "covariance"

    def __init__(self, moment: np.ndarray):
        self.moment = moment
        self._whiteners: dict[int, Whitener] = {}

    def whitener(self, width: int) -> Whitener:
        """The nearest product of two covariances, the second of ``width`` rows: made once, for all ranks."""
        if width not in self._whiteners:
            self._whiteners[width] = Whitener(self.moment, width)
        return self._whiteners[width]

    def norm(self, difference: np.ndarray) -> float:
        """Compute the root of the expected squared response."""
        rows = difference.reshape(len(difference), -1)
        return float(np.sqrt(max(np.vdot(rows @ self.moment, rows), 0.0)))  # rounding may leave a null direction negative


class Mahalanobis(Metric):
    """``||a .* W||_F``: the diagonal approximation of the Mahalanobis distance (equation 2).

    Parameters
    ----------
    alpha
        OIHW, above 0: how much the errors of the network feel each weight.
    """

    name = "mahalanobis"

    def __init__(self, alpha: np.ndarray):
        self.alpha = alpha

    def of_rows(self, order: np.ndarray | slice) -> Mahalanobis:
        """Put the weights of the output channels into the order of the kernel's."""
        return Mahalanobis(self.alpha[order])

    def norm(self, difference: np.ndarray) -> float:
        """Compute the root of the weighted sum of squares."""
        return float(np.linalg.norm(self.alpha.reshape(difference.shape) * difference))


FROBENIUS = Frobenius()
METRICS = tuple(metric.name for metric in (Frobenius, Covariance, Mahalanobis))
