"""What a candidate will cost in accuracy, from its error in the data metric: one curve for each layer, fitted to real evaluations.

    loss = a error^p

Loss is the divergence of the network's probabilities from the dense network's, in nats, with this one layer factored. For small errors it
grows with their square, and, since errors of different layers are uncorrelated, it adds up over layers.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

POWERS = (1.0, 4.0)  # what p is kept within; two points close to each other can say anything
SQUARE = 2.0  # p where one point is all there is
LEAST = 1e-9  # errors and losses below count as this


@dataclass(frozen=True)
class Curve:
    """loss = factor * error ** power."""

    factor: float
    power: float

    @classmethod
    def fit(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """Through (error, loss) pairs, by least squares of the logarithms; ValueError without any."""
        logs = np.log(np.maximum(np.array(list(points), float).reshape(-1, 2), LEAST))
        if not len(logs):
            raise ValueError("a curve needs at least one point")
        error, loss = logs.T
        spread = float(((error - error.mean()) ** 2).sum())
        power = SQUARE
        if spread > 1e-12:
            power = float(np.clip(((error - error.mean()) * (loss - loss.mean())).sum() / spread, *POWERS))
        return cls(float(np.exp(loss.mean() - power * error.mean())), power)

    def __call__(self, error: float) -> float:
        return self.factor * max(error, LEAST) ** self.power


def points_per_loss(losses: Sequence[float], drops: Sequence[float]) -> float:
    """Points of accuracy for each unit of loss, by least squares through the origin: where tightening begins; above 0."""
    losses, drops = np.asarray(losses, float), np.asarray(drops, float)
    slope = float((losses * drops).sum() / max((losses**2).sum(), LEAST))
    return max(slope, 1.0)
