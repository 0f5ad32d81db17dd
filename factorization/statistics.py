"""What calibration data says of one layer: everything that a data-aware method may know."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .metrics import FROBENIUS, Covariance, Mahalanobis, Metric


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the inputs of one layer, and of the effect of its errors.

    Parameters
    ----------
    count
        Patches (rows of a dense layer's input) that were seen.
    mean
        (I H W,), float64: of the patches that the kernel meets, in the order of a flattened OIHW weight, padding's zeros included.
    moment
        (I H W) x (I H W), float64: the mean of p p^T over the same patches p.
    alpha
        OIHW or OI, above 0, or None: the weights of the approximate Mahalanobis metric.
    """

    count: int
    mean: np.ndarray
    moment: np.ndarray
    alpha: np.ndarray | None = None

    def metric(self, name: str) -> Metric:
        """The metric of that name for this layer; ValueError where it is unknown or what it needs was not collected."""
        if name == "frobenius":
            return FROBENIUS
        if name == "covariance":
            return self._covariance
        if name == "mahalanobis":
            if self.alpha is None:
                raise ValueError("the Mahalanobis metric needs labelled data, and PyTorch to back-propagate its mistakes")
            return Mahalanobis(self.alpha)
        raise ValueError(f"unknown metric {name!r}")

    @cached_property
    def _covariance(self) -> Covariance:
        return Covariance(self.moment)  # one for all ranks: it remembers what it has found out about the moment
