"""The error that alternating least squares lower: the squared distance of a chain's kernel K from a wanted response, as a quadratic form.

    q(K) = <K, K M> - 2 <K, R> + constant
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy

import numpy as np

from ..metrics import Covariance, Mahalanobis, Metric
from .stage_view import StageView

SMOOTHING = 1e-6  # part of the mean variance that every direction is given: no data says that a direction does not matter at all


class Objective(ABC):
    """A quadratic form on kernels, (F, D).

    Attributes
    ----------
    wanted : ndarray
        R, (F, D).
    constant : float
        The squared norm of what is wanted.
    """

    wanted: np.ndarray
    constant: float

    @abstractmethod
    def weigh(self, kernel: np.ndarray) -> np.ndarray:
        """K M, for all D columns."""

    @abstractmethod
    def normal(self, stage_view: StageView, c: np.ndarray) -> np.ndarray:
        """``whole_adjoint(weigh(whole(c)))`` of a stage_view."""

    def error(self, kernel: np.ndarray) -> float:
        """q, which is 0 where the kernel responds as wanted."""
        return float(np.vdot(kernel, self.weigh(kernel) - 2 * self.wanted) + self.constant)


class Elementwise(Objective):
    """An objective that looks at each weight by itself: ``M`` multiplies elements by ``squares``, (F, D) or a scalar."""

    def __init__(self, weight: np.ndarray, squares: np.ndarray | float):
        self._squares = squares
        self.wanted = weight * squares
        self.constant = float(np.vdot(weight, self.wanted))

    def weigh(self, kernel: np.ndarray) -> np.ndarray:
        return kernel * self._squares

    def normal(self, stage_view: StageView, c: np.ndarray) -> np.ndarray:
        return stage_view.whole_adjoint(self.weigh(stage_view.whole(c, self.wanted.shape[1])))


class Moment(Objective):
    """The expected squared response to patches of second moment S: ``M = S``, with a little of every direction added.

    Parameters
    ----------
    moment
        S, D x D.
    weight
        (F, D): the dense kernel; with ``cross``, what the kernel stays near to where the data says nothing.
    cross
        (F, D): the mean of y p^T, where the response that is wanted is not the dense kernel's to the same patches p but any y;
        with its mean square ``constant``. None: y = weight p.
    smoothing
        Part of the mean variance that is added.
    """

    def __init__(
        self,
        moment: np.ndarray,
        weight: np.ndarray,
        cross: np.ndarray | None = None,
        constant: float = 0.0,
        smoothing: float = SMOOTHING,
    ):
        self.moment = moment
        self.smoothing = smoothing * np.trace(moment) / len(moment)
        self.wanted = (weight @ moment if cross is None else cross) + self.smoothing * weight
        self.constant = float(np.vdot(weight, self.wanted)) if cross is None else constant + self.smoothing * float(np.vdot(weight, weight))

    def weigh(self, kernel: np.ndarray) -> np.ndarray:
        return kernel @ self.moment + self.smoothing * kernel

    def weighted(self, weighting: np.ndarray) -> Moment:
        """Make the objective of stage views with weighted outputs (`StageView.weighted`). Its constant stays that of this one."""
        other = copy(self)
        other.wanted = weighting @ self.wanted
        return other

    def normal(self, stage_view: StageView, c: np.ndarray) -> np.ndarray:
        width = len(self.moment)
        if len(stage_view.back[0]) * width <= len(c) * sum(map(len, stage_view.back_columns)):
            return stage_view.whole_adjoint(self.weigh(stage_view.whole(c, width)))
        seen = [self.seen(c, columns) for columns in stage_view.back_columns]
        total = np.zeros_like(c)
        for u, columns in zip(stage_view.back, stage_view.back_columns, strict=True):
            # What all taps together do to the columns of this one.
            total += u.T @ sum(v @ response[:, columns] for v, response in zip(stage_view.back, seen, strict=True))
        return total

    def seen(self, c: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """``weigh`` of a kernel that is c in ``columns`` and zero in the others."""
        response = c @ self.moment[columns]
        response[:, columns] += self.smoothing * c
        return response


def objective(weight: np.ndarray, metric: Metric) -> Objective:
    """The squared distance from ``weight``, (F, D), in a metric."""
    if isinstance(metric, Covariance):
        return Moment(metric.moment, weight)
    squares = np.asarray(metric.alpha, np.float64).reshape(weight.shape) ** 2 if isinstance(metric, Mahalanobis) else 1.0
    return Elementwise(weight, squares)
