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
BLOCK_NUMBERS = 2**19  # of answers that are worked on at a time: they, and what is made of them, stay in a cache


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
    starts = [(weight, bias), stage.fit(data.targets)]
    losses = [stage.relaxed(*start, wanted, data.window)[0] for start in starts]
    best = starts[int(np.argmin(losses))]
    least, now = min(losses), best
    for penalty in PENALTIES:
        loss, fitted = stage.relaxed(*now, wanted, data.window, penalty)
        if loss < least:
            least, best = loss, now
        assert fitted is not None  # a penalty was given
        now = fitted
    return now if stage.relaxed(*now, wanted, data.window)[0] < least else best


def _relax(prediction: np.ndarray, wanted: np.ndarray, penalty: float, window: int) -> np.ndarray:
    """z from the prediction, in its place, and the largest of each window before.

    Of the largest of a window z is the better of the best z below zero and the best z above; the others only have to be no larger. Written
    out, with n = (penalty p + r) / (penalty + 1): the largest stays where it is if p < r (1 - sqrt(1 + 1 / penalty)), and becomes n
    otherwise; of the others those above r become n.
    """
    windows = prediction.reshape(-1, window, prediction.shape[1])
    top = _largest(windows)
    least = np.minimum(top, wanted)
    least[top < (1 - np.sqrt(1 + 1 / penalty)) * wanted] = np.inf
    for pixel in range(window):  # strided slices: a fourth of the time of broadcasting
        part = windows[:, pixel]
        step = wanted - part
        step *= part >= least
        step *= 1 / (1 + penalty)
        part += step
    return top


def _largest(windows: np.ndarray) -> np.ndarray:
    """Of each window, (windows, window, F) -> (windows, F)."""
    top = windows[:, 0].copy()
    for pixel in range(1, windows.shape[1]):
        np.maximum(top, windows[:, pixel], out=top)
    return top


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
        cross = self._cross(targets, self._features)
        return self._solved(cross / len(targets), targets.mean(axis=0, dtype=np.float64))

    def relaxed(
        self, weight: np.ndarray, bias: np.ndarray, wanted: np.ndarray, window: int, penalty: float | None = None
    ) -> tuple[float, tuple[np.ndarray, np.ndarray] | None]:
        """The non-linear loss of a weight and bias; with a penalty, the ones fitted to its z too.

        Rows pass through in blocks that a cache holds.

        Parameters
        ----------
        weight, bias : ndarray
        wanted : ndarray
            (n / window, F): what is let through of the targets.
        window : int
        penalty : float, optional
        """
        loss, cross, mean = 0.0, np.zeros((len(weight), self._now[0].size)), np.zeros(len(weight))
        rows = max(1, BLOCK_NUMBERS // (len(weight) * window))
        for start in range(0, len(wanted), rows):
            part = wanted[start : start + rows]
            features = self._features[start * window : (start + len(part)) * window]
            prediction = stage_output(weight, self._groups, features)
            prediction += bias.astype(np.float32)
            if penalty is None:
                top = _largest(prediction.reshape(-1, window, len(weight)))
            else:
                top = _relax(prediction, part, penalty, window)
                cross += self._cross(prediction, features)
                mean += prediction.sum(axis=0, dtype=np.float64)
            difference = part - np.maximum(top, 0, out=top)
            loss += float(np.vdot(difference, difference))
        count = len(wanted) * window
        return loss, None if penalty is None else self._solved(cross / count, mean / count)

    def _cross(self, targets: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Sums of products of targets and features, group by group: (F, features of one)."""
        pairs = zip(self._blocks(targets), self._blocks(features), strict=True)
        return np.concatenate([(wanted.T @ block).astype(np.float64) for wanted, block in pairs])

    def _solved(self, cross: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias, from means of products and of targets."""
        means = means.reshape(self._groups, -1)
        now, cross = (array.reshape(self._groups, means.shape[1], -1) for array in (self._now, cross))
        rows = np.empty(now.shape)
        for g, mean in enumerate(self._mean):
            right = cross[g] - np.outer(means[g], mean) + self._ridges[g] * now[g]
            rows[g] = scipy.linalg.cho_solve(self._factors[g], right.T).T
        bias = means - np.einsum("gfi,gi->gf", rows, self._mean)
        return rows.reshape(self._now.shape), bias.ravel()

    def _blocks(self, rows: np.ndarray) -> list[np.ndarray]:
        return np.split(rows, self._groups, axis=1)
