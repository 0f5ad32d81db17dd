"""The last stage of a chain and its bias, solved again from what flows through the factored network, to answer as the dense layer does.

    linear       min  sum_i || y_i - U p_i - b ||^2
    non-linear   min  sum_i || r(y_i) - r(U p_i + b) ||^2,   r = ReLU

p_i: what the stage reads in the network factored so far; y_i: the dense layer's output in the dense network. That the two differ is what
makes it asymmetric: the layer corrects the errors of the layers before it too.

Source: Zhang, Zou, He and Sun, "Accelerating very deep convolutional networks for classification and detection" (2016): the asymmetric
objective, and the non-linear one relaxed by auxiliary variables z_i:

    min  sum_i || r(y_i) - r(z_i) ||^2 + penalty || z_i - U p_i - b ||^2

Where a max-pooling follows the ReLU, r takes the largest of a window besides: of four errors three are of no consequence.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

RIDGE = 1e-4  # of the mean variance of what the stage reads, towards the weights as they are
PENALTIES = (0.01,) * 10 + (1.0,) * 10


@dataclass(frozen=True, eq=False)
class LastStageSamples:
    """Pairs of what the last stage reads and what it should answer.

    Attributes
    ----------
    features : ndarray
        (n, I Y X) of float32: patches of all input channels of the stage, in the order of an OIHW weight.
    targets : ndarray
        (n, F) of float32: the dense layer's outputs, its bias included.
    window : int
        So many rows that follow each other are the pixels of which a max-pooling lets the largest through; 1: there is none.
    """

    features: np.ndarray
    targets: np.ndarray
    window: int = 1

    def let_through(self, values: np.ndarray) -> np.ndarray:
        """r of values like the targets: (n / window, F)."""
        return np.maximum(values.reshape(-1, self.window, values.shape[1]).max(axis=1), 0)


def stage_output(weight: np.ndarray, groups: int, features: np.ndarray) -> np.ndarray:
    """Output of a stage without its bias: (n, F), float32.

    Parameters
    ----------
    weight : ndarray, OIHW
    groups : int
        Of the stage.
    features : ndarray, (n, I Y X) float32
        Patches of all its input channels.
    """
    rows = weight.reshape(groups, len(weight) // groups, -1).astype(np.float32)
    blocks = features.reshape(len(features), groups, -1)
    return np.concatenate([blocks[:, g] @ rows[g].T for g in range(groups)], axis=1)


def fit_last_stage(
    weight: np.ndarray, bias: np.ndarray, groups: int, data: LastStageSamples, rectified: bool = False
) -> tuple[np.ndarray, np.ndarray]:
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
    if not rectified:
        return stage.fit(data.targets)
    wanted = data.let_through(data.targets)

    def loss_of(weight: np.ndarray, bias: np.ndarray) -> float:
        return float(np.square(wanted - data.let_through(stage.predict(weight, bias))).sum(dtype=np.float64))

    starts = [(weight, bias), stage.fit(data.targets)]
    best = min(starts, key=lambda start: loss_of(*start))
    least, (weight, bias) = loss_of(*best), best
    for penalty in PENALTIES:
        weight, bias = stage.fit(_auxiliary(wanted, stage.predict(weight, bias), penalty, data.window))
        loss = loss_of(weight, bias)
        if loss < least:
            least, best = loss, (weight, bias)
    return best


def _auxiliary(wanted: np.ndarray, prediction: np.ndarray, penalty: float, window: int = 1) -> np.ndarray:
    """z: of the largest of a window the better of the best z below and the best z above zero; the others only have to be no larger."""
    windows = prediction.reshape(-1, window, prediction.shape[1])
    nearer = (penalty * windows + wanted[:, None]) / (penalty + 1)
    z = np.where(windows > wanted[:, None], nearer, windows)
    largest = windows.argmax(axis=1)[:, None]
    top = np.take_along_axis(windows, largest, axis=1)[:, 0]
    below = np.minimum(top, 0)
    above = np.maximum((penalty * top + wanted) / (penalty + 1), 0)
    cost_below = wanted**2 + penalty * (top - below) ** 2
    cost_above = (wanted - above) ** 2 + penalty * (top - above) ** 2
    np.put_along_axis(z, largest, np.where(cost_below < cost_above, below, above)[:, None], axis=1)
    return z.reshape(prediction.shape)


class _Stage:
    """Least squares from the features of one stage, the same ones for target after target."""

    def __init__(self, weight: np.ndarray, groups: int, features: np.ndarray):
        self._now, self._groups, self._features = weight, groups, features
        self._mean = features.mean(axis=0, dtype=np.float64).reshape(groups, -1)
        self._factors, self._ridges = [], []
        for block, mean in zip(self._blocks(features), self._mean, strict=True):
            gram = (block.T @ block).astype(np.float64) / len(block) - np.outer(mean, mean)
            ridge = RIDGE * np.trace(gram) / len(gram) + np.finfo(np.float32).tiny
            gram[np.diag_indices(len(gram))] += ridge
            self._factors.append(scipy.linalg.cho_factor(gram))
            self._ridges.append(ridge)

    def fit(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias for targets (n, F)."""
        means = targets.mean(axis=0, dtype=np.float64).reshape(self._groups, -1)
        now = self._now.reshape(self._groups, means.shape[1], -1)
        rows, blocks = np.empty(now.shape), zip(self._blocks(targets), self._blocks(self._features), strict=True)
        for g, (wanted, block) in enumerate(blocks):
            cross = (wanted.T @ block).astype(np.float64) / len(block) - np.outer(means[g], self._mean[g])
            rows[g] = scipy.linalg.cho_solve(self._factors[g], (cross + self._ridges[g] * now[g]).T).T
        bias = means - np.einsum("gfi,gi->gf", rows, self._mean)
        return rows.reshape(self._now.shape), bias.ravel()

    def predict(self, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """(n, F), float32."""
        return stage_output(weight, self._groups, self._features) + bias.astype(np.float32)

    def _blocks(self, rows: np.ndarray) -> list[np.ndarray]:
        return np.split(rows, self._groups, axis=1)
