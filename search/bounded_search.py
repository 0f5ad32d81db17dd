"""From predictions to a choice that truly holds: choose, check for real, and tighten what was predicted too well.

Nothing here knows of networks: a choice is a tuple of indices, and what it costs in truth is asked of functions.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, sqrt

from .knapsack import Indices

Pick = Callable[[Mapping[str, float]], Indices | None]  # the best choice within limits of sums; None: there is none
Sums = Callable[[Indices], Mapping[str, float]]
MAX_CHECKS = 8  # choices that are checked for real
BOUND_RATIO = 1.1  # ratio of two bounds of the loss between which a better choice is no longer looked for
MAX_STEP = 4.0  # the factor between two limits of the loss that are tried one after the other
TIGHTENING = 1.02  # times what a sum was predicted too small: by so much its limit is tightened


@dataclass
class Found:
    """What was tried.

    Attributes
    ----------
    best : tuple of int or None
        The best choice that holds.
    tried : dict
        Every choice that was checked, and whether it held.
    """

    best: Indices | None = None
    tried: dict[Indices, bool] = field(default_factory=dict)

    def holds(self, choice: Indices, check: Callable[[Indices], bool]) -> bool:
        """The check, made once for each choice."""
        if choice not in self.tried:
            self.tried[choice] = check(choice)
        return self.tried[choice]


def loosest(pick: Pick, check: Callable[[Indices], bool], start: float, limits: Mapping[str, float], step: float = MAX_STEP) -> Found:
    """The largest limit of the sum of losses whose choice holds, by bisection on a logarithmic scale.

    Parameters
    ----------
    pick : callable
        Gets `limits` and a limit of ``loss``.
    check : callable
        Whether a choice holds for real.
    start : float
        The limit that is tried first, above 0.
    limits : dict of str to float
        Of the other sums.
    step : float
        The factor between the first limits, until one choice holds and another does not: how far off `start` may be. It grows each time.
    """
    found, low, high, limit = Found(), 0.0, inf, start
    for _ in range(4 * MAX_CHECKS):
        if len(found.tried) >= MAX_CHECKS or high <= BOUND_RATIO * low:
            break
        choice = pick({**limits, "loss": limit})
        if choice is None:  # the other limits can't be kept with so little loss
            low = max(low, limit)
        elif found.holds(choice, check):
            low, found.best = limit, choice
        else:
            high = limit
        if high < inf and low == 0.0 and limit < start * MAX_STEP**-20:
            break
        limit = _next(low, high, limit, step)
        step = min(step**2, MAX_STEP)
        if limit > start * MAX_STEP**20:
            break
    return found


def _next(low: float, high: float, limit: float, step: float) -> float:
    if high == inf:
        return limit * step
    return sqrt(low * high) if low > 0 else limit / step


def within(pick: Pick, predict: Sums, measure: Sums, limits: Mapping[str, float]) -> Found:
    """A choice whose sums, as measured, keep the limits.

    Where a sum is too large, its limit is tightened for the next choice by what the sum was predicted too small: by the excess alone, a
    choice that was predicted well within the limit would be picked again.

    Parameters
    ----------
    pick : callable
    predict, measure : callable
        The sums of a choice as `pick` sees them, and in truth, by the names in `limits`.
    limits : dict of str to float
    """
    found, tightened = Found(), dict(limits)
    for _ in range(MAX_CHECKS):
        choice = pick(tightened)
        if choice is None:
            break
        predicted, actual = predict(choice), measure(choice)
        over = [name for name, limit in limits.items() if actual[name] > limit]
        found.tried[choice] = not over
        if not over:
            found.best = choice
            break
        for name in over:
            tightened[name] = min(tightened[name], limits[name] - TIGHTENING * (actual[name] - predicted[name]))
    return found
