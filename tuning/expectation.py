"""What further trials of a task may gain: from how much the last ones gained, and how unsure the cost model is of what it proposes."""
from __future__ import annotations

from collections.abc import Sequence
from math import erf, exp, isfinite, log, pi, sqrt

import numpy as np

DECAY = 0.9          # weight of a trial's gain by that of the next one
FIRST_GAIN = 0.05    # of the latency that a trial gains before any is known, which counts as much as `FIRST_TRIALS` trials do
FIRST_TRIALS = 4.0
LEAST_SPREAD = 0.02  # of the logarithm of latencies that the model is never more sure of


def history_gain(ms: Sequence[float | None]) -> float:
    """Return the part of the latency that the next trial gains, if the last ones are a guide.

    Parameters
    ----------
    ms : sequence of float or None
        Of all trials, in order; None where one failed. The first is what others are compared with.
    """
    best = next((value for value in ms if value is not None), None)
    gained, weight = FIRST_GAIN * FIRST_TRIALS, FIRST_TRIALS
    for value in ms:
        gained, weight = DECAY * gained, DECAY * weight + 1
        if value is not None and best is not None and value < best:
            gained += log(best / value)
            best = value
    return gained / weight


def expected_improvement(mean: float, spread: float) -> float:
    """Return the expected value of the part of a normally distributed number that is above 0.

    Parameters
    ----------
    mean, spread : float
        Of the number, as of the logarithm of (best / latency).
    """
    if spread <= 0 or not isfinite(mean):
        return max(0.0, mean) if isfinite(mean) else 0.0
    z = mean / spread
    density, below = exp(-z * z / 2) / sqrt(2 * pi), (1 + erf(z / sqrt(2))) / 2
    return mean * below + spread * density


def model_gain(scores: Sequence[float], ms: Sequence[float], candidates: Sequence[float]) -> float:
    """Return the part of the latency that the best candidates gain, if measured points are a guide to what scores mean.

    A line from scores to the logarithms of latencies is fitted; what is left over is how unsure the model is.

    Parameters
    ----------
    scores, ms : sequence of float
        Of measured points.
    candidates : sequence of float
        Scores of points to be measured.
    """
    if len(scores) < 3 or not len(candidates):
        return 0.0
    x, y = np.asarray(scores, float), np.log(np.asarray(ms, float))
    spread_x = float(np.var(x))
    slope = min(0.0, float(np.mean((x - x.mean()) * (y - y.mean()))) / spread_x) if spread_x > 0 else 0.0
    left = y - y.mean() - slope * (x - x.mean())
    spread = max(LEAST_SPREAD, float(np.sqrt(np.sum(left**2) / max(1, len(y) - 2))))
    best = float(y.min())
    return max(expected_improvement(best - (y.mean() + slope * (score - x.mean())), spread) for score in candidates)
