"""The last stage of a chain and its bias, solved again from what flows through the factored network, to answer as the dense layer does.

    linear       min  sum_i || y_i - U p_i - b ||^2
    non-linear   min  sum_i || r(y_i) - r(U p_i + b) ||^2,   r = ReLU

p_i: what the stage reads in the network factored so far; y_i: the dense layer's output in the dense network. That the two differ is what
makes it asymmetric: the layer corrects the errors of the layers before it too.

Source: Zhang, Zou, He and Sun, "Accelerating very deep convolutional networks for classification and detection" (2016): the asymmetric
objective, and the non-linear one relaxed by auxiliary variables z_i:

    min  sum_i || r(y_i) - r(z_i) ||^2 + penalty || z_i - U p_i - b ||^2
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

RIDGE = 1e-4  # of the mean variance of what the stage reads, towards the weights as they are
PENALTIES = (0.01,) * 10 + (1.0,) * 10


@dataclass(frozen=True, eq=False)
class Responses:
    """Pairs of what the last stage reads and what it should answer.

    Attributes
    ----------
    features : ndarray
        (n, I Y X) of float32: patches of all input channels of the stage, in the order of an OIHW weight.
    targets : ndarray
        (n, F) of float32: the dense layer's outputs, its bias included.
    """

    features: np.ndarray
    targets: np.ndarray


def solve(weight: np.ndarray, bias: np.ndarray, groups: int, data: Responses, rectified: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The weight and bias whose responses are nearest to the targets.

    Parameters
    ----------
    weight, bias
        Of the last stage as they are, OIHW and (F,); the bias is the whole one of the layer.
    groups
        Of the stage.
    data
        More rows than the features of one group.
    rectified
        Only what a ReLU lets through matters.

    Returns
    -------
    weight, bias
        float64.
    """
    stage = _Stage(weight, groups, data.features)
    rows, bias = stage.fit(data.targets)
    if not rectified:
        return rows.reshape(weight.shape), bias
    response = np.maximum(data.targets, 0)
    best = (np.inf, rows, bias)
    for penalty in PENALTIES:
        prediction = stage.predict(rows, bias)
        best = min(best, (_loss(response, prediction), rows, bias), key=lambda entry: entry[0])
        rows, bias = stage.fit(_auxiliary(response, prediction, penalty))
    best = min(best, (_loss(response, stage.predict(rows, bias)), rows, bias), key=lambda entry: entry[0])
    return best[1].reshape(weight.shape), best[2]


def _loss(response: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.square(response - np.maximum(prediction, 0), dtype=np.float32).sum(dtype=np.float64))


def _auxiliary(response: np.ndarray, prediction: np.ndarray, penalty: float) -> np.ndarray:
    """z: for each number by itself the better of the best z below and the best z above zero."""
    below = np.minimum(prediction, 0)
    above = np.maximum((penalty * prediction + response) / (penalty + 1), 0)
    cost_below = response**2 + penalty * (prediction - below) ** 2
    cost_above = (response - above) ** 2 + penalty * (prediction - above) ** 2
    return np.where(cost_below < cost_above, below, above)


class _Stage:
    """Least squares from the features of one stage, the same ones for target after target."""

    def __init__(self, weight: np.ndarray, groups: int, features: np.ndarray):
        self.now = weight.reshape(groups, len(weight) // groups, -1).astype(np.float64)
        self.groups, self.features = groups, features.reshape(len(features), groups, -1)
        self.mean = features.mean(axis=0, dtype=np.float64).reshape(groups, -1)
        self.factors, self.ridges = [], []
        for g in range(groups):
            block = self.features[:, g]
            gram = (block.T @ block).astype(np.float64) / len(block) - np.outer(self.mean[g], self.mean[g])
            ridge = RIDGE * np.trace(gram) / len(gram) + np.finfo(np.float32).tiny
            gram[np.diag_indices(len(gram))] += ridge
            self.factors.append(scipy.linalg.cho_factor(gram))
            self.ridges.append(ridge)

    def fit(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (F, features of one group) and bias (F,)."""
        mean = targets.mean(axis=0, dtype=np.float64)
        rows, wanted = np.empty_like(self.now), targets.reshape(len(targets), self.groups, -1)
        for g in range(self.groups):
            cross = (wanted[:, g].T @ self.features[:, g]).astype(np.float64) / len(targets)
            cross -= np.outer(mean.reshape(self.groups, -1)[g], self.mean[g])
            rows[g] = scipy.linalg.cho_solve(self.factors[g], (cross + self.ridges[g] * self.now[g]).T).T
        bias = mean - np.einsum("gfi,gi->gf", rows, self.mean).ravel()
        return rows.reshape(len(mean), -1), bias

    def predict(self, rows: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """(n, F), float32."""
        grouped = rows.reshape(self.now.shape).astype(np.float32)
        parts = [self.features[:, g] @ grouped[g].T for g in range(self.groups)]
        return (parts[0] if self.groups == 1 else np.concatenate(parts, axis=1)) + bias.astype(np.float32)
