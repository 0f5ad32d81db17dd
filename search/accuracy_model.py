"""What a candidate will cost in accuracy.

From its error in the data metric to the loss there is one curve for each layer, fitted to real evaluations. From the loss to points of
accuracy there is one line for all plans.

    loss = a error^p                points = b loss

Loss is the divergence of the network's probabilities from the dense network's, in nats, with this one layer factored. For small errors it
grows with their square, and, since errors of different layers are uncorrelated, it adds up over layers.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .calibration.evaluation import Verdict

POWER_RANGE = (1.0, 4.0)  # what p is kept within; two points close to each other can say anything
DEFAULT_POWER = 2.0  # p where one point is all there is
SMALLEST = 1e-9  # errors and losses below count as this
MIN_PLANS = 3  # that a line needs
LINEAR_POINTS = 10.0  # points of accuracy up to which the line is one
LAYER_SCATTER, PLAN_SCATTER = 0.3, 0.1  # relative: how far a layer's predicted losses are off, and a plan's besides


@dataclass(frozen=True)
class Curve:
    """loss = factor * error ** power."""

    factor: float
    power: float

    @classmethod
    def fit(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """Through (error, loss) pairs, by least squares of the logarithms; ValueError without any."""
        logs = np.log(np.maximum(np.array(list(points), float).reshape(-1, 2), SMALLEST))
        if not len(logs):
            raise ValueError("a curve needs at least one point")
        error, loss = logs.T
        spread = float(((error - error.mean()) ** 2).sum())
        power = DEFAULT_POWER
        if spread > 1e-12:
            power = float(np.clip(((error - error.mean()) * (loss - loss.mean())).sum() / spread, *POWER_RANGE))
        return cls(float(np.exp(loss.mean() - power * error.mean())), power)

    def __call__(self, error: float) -> float:
        """Return the loss at an error."""
        return self.factor * max(error, SMALLEST) ** self.power


def points_per_loss(losses: Sequence[float], drops: Sequence[float], step: float = 1.0) -> float:
    """Points of accuracy for each unit of loss, by least squares through the origin: where tightening begins; at least `step`."""
    x, y = np.asarray(losses, float), np.asarray(drops, float)
    slope = float((x * y).sum() / max((x**2).sum(), SMALLEST))
    return max(slope, step)


def layer_factors(predicted: np.ndarray | Sequence[Sequence[float]], actual: Sequence[float]) -> np.ndarray:
    """What the losses predicted for each layer have to be multiplied by, from plans that were verified.

    Least squares of the plans' relative errors; what plans do not tell apart stays near the factor that all layers share.

    Parameters
    ----------
    predicted : ndarray
        (plans, layers): the loss of each layer in each plan, as predicted.
    actual : sequence of float
        The loss of each plan.

    Returns
    -------
    ndarray
        (layers,), above 0.
    """
    losses, truth = np.asarray(predicted, float), np.maximum(np.asarray(actual, float), SMALLEST)
    plans, layers = losses.shape
    if not plans:
        return np.ones(layers)
    shared = float(np.exp(np.log(truth / np.maximum(losses.sum(axis=1), SMALLEST)).mean()))
    errors = shared * losses / truth[:, None] / PLAN_SCATTER  # of a factor that is off by its own size, in standard errors of the plans
    system = np.vstack([errors, np.eye(layers) / LAYER_SCATTER])
    wanted = np.concatenate([np.full(plans, 1 / PLAN_SCATTER), np.full(layers, 1 / LAYER_SCATTER)])
    return shared * np.clip(np.linalg.lstsq(system, wanted, rcond=None)[0], 0.25, 4.0)


@dataclass(frozen=True)
class Estimate:
    """Points of accuracy that a plan loses, with their standard error."""

    drop: float
    uncertainty: float


@dataclass(frozen=True)
class Trend:
    """Points of accuracy for each nat of divergence: one number for all plans of a network.

    What one plan loses is known from some thousand labels to a few tenths of a point. That is too little to tell apart plans that are near
    each other: who takes the best of several by it takes the luckiest. Their divergences are known many times better, and what they lose is
    in proportion. The factor is taken from plans that lose several points, where it is known best.

    Attributes
    ----------
    slope, uncertainty : float
        The factor, and its standard error.
    plans : int
        That it was taken from.
    """

    slope: float
    uncertainty: float
    plans: int

    @classmethod
    def fit(cls, verdicts: Iterable[Verdict], step: float = 1.0) -> Trend | None:
        """Through the origin, by least squares weighted by what each plan's loss is known to; None from few plans, or if none loses.

        The plans were judged on the same images, so their errors are taken for one that all of them share. Where they are farther from the
        line than their own errors allow, its error is larger by as much. `step`: what a point is in the units of the drops (`Measure`).
        """
        used = [v for v in verdicts if v.kl > SMALLEST and v.drop <= LINEAR_POINTS * step]
        if len(used) < MIN_PLANS:
            return None
        kl, drop, error = (np.array([getattr(v, name) for v in used]) for name in ("kl", "drop", "uncertainty"))
        weights = kl / error**2
        slope = float((weights * drop).sum() / (weights * kl).sum())
        if slope <= 0:
            return None
        scatter = sqrt(float((((drop - slope * kl) / error) ** 2).sum()) / (len(used) - 1))
        return cls(slope, float((weights * error).sum() / (weights * kl).sum()) * max(scatter, 1.0), len(used))

    def __call__(self, verdict: Verdict) -> Estimate:
        """What a plan loses, from its divergence."""
        return Estimate(self.slope * verdict.kl, hypot(self.uncertainty * verdict.kl, self.slope * verdict.kl_uncertainty))
