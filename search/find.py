"""The choice that a budget asks for: picked by predictions, verified for real, tightened until it truly holds."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import inf

import numpy as np
from scipy.special import ndtri

from ..support.errors import TenfoldError
from .accuracy_model import SMALLEST, Trend, layer_factors, points_per_loss
from .bounded_search import MAX_CHECKS, MAX_STEP, Found, Pick, loosest, within
from .budget import Budget
from .infeasible import best_accurate, best_reachable
from .knapsack import Indices
from .search import Search

RISK = 0.05  # that a plan breaks the budget on further images although it passed
STANDARD_ERRORS = float(ndtri(1 - RISK))  # to spare
# Where plans are judged by their own errors, any of them may pass by luck (Bonferroni).
STANDARD_ERRORS_OF_ALL = float(ndtri(1 - RISK / MAX_CHECKS))
LIMIT_STEP = 1.15  # by which the first limits of the loss differ, once there is a trend
PROBE_POINTS = 2.0, 4.0, 8.0  # points of accuracy that plans shall lose, roughly, which the trend is taken from
FURTHER_PLANS = 4  # plans that are verified after the bisection: losses that single layers predict badly may hide a faster one
LOSS_FACTORS = 1.0, 1.03, 1.06, 0.97, 0.94  # of the loss that is allowed: where these are looked for
WORTHWHILE_RATIO = 0.99  # of the milliseconds of the best: what is worth a try
FINALISTS = 3  # plans that hold and are timed against each other
FINALIST_RATIO = 1.1  # times the predicted time of the best that they may have


def find(search: Search, budget: Budget) -> Indices:
    """The choice that `budget` asks for, verified.

    Parameters
    ----------
    search : Search
        Surveyed.
    budget : Budget

    Raises
    ------
    TenfoldError
        The budget can't be met; the message says what the best reachable is.
    """
    finder = Finder(search, budget)
    return finder.fastest() if budget.minimise == "ms" else finder.most_accurate()


class Finder:
    """Looks for the choice that one budget asks for.

    Parameters
    ----------
    search : Search
    budget : Budget

    Attributes
    ----------
    max_drop : float
        Points of accuracy that may be lost; infinite where they are not bounded.
    limits : dict of str to float
        On ``ms`` and ``bytes`` of the whole network, where they are bounded.
    """

    def __init__(self, search: Search, budget: Budget) -> None:
        self.search, self.budget, self.costs = search, budget, search.costs
        self.max_drop = inf if budget.max_drop is None else budget.max_drop
        bounds = {"ms": budget.most_ms(self.costs.whole.ms), "bytes": budget.most_bytes}
        self.limits = {name: limit for name, limit in bounds.items() if limit}

    def most_accurate(self) -> Indices:
        """The choice that loses least within the limits."""
        if all(getattr(self.costs.whole, name) <= limit for name, limit in self.limits.items()):
            words = self.budget.text(self.search.measure.units)
            raise TenfoldError(f"{self.search.network.name}: the dense network is within the budget ({words}) already")
        self.search.timing.know(self.costs.pick("loss", self.limits))
        found = self._within(lambda bounds: self.costs.pick("loss", bounds))
        if found is None:
            raise TenfoldError(best_reachable(self.search, self.budget, self.limits))
        if self.max_drop != inf:
            self._probe()
            if not self.holds(found):
                raise TenfoldError(best_accurate(self.search, self.budget, found))
        self.search.tune([found])
        return found

    def fastest(self) -> Indices:
        """The fastest choice that loses no more than it may, within the limits."""
        start, step = self._start()
        self.search.timing.know(self.costs.pick("ms", {"loss": start, **self.limits}))

        def pick(bounds: Mapping[str, float]) -> Indices | None:
            # A choice that takes more bytes than predicted says nothing of its loss: only the limit on bytes is tightened for it.
            return self._within(lambda others: self.costs.pick("ms", {**bounds, **others}))

        found = loosest(pick, self.holds, start, self.limits, step)
        if found.best is None or not any(found.best):
            raise TenfoldError(best_reachable(self.search, self.budget, self.limits))
        holding = self.further(found)
        if not holding:
            raise TenfoldError(best_reachable(self.search, self.budget, self.limits))
        if "ms" in self.limits:  # they were timed one by one, against the limit
            self.search.tune([holding[0]])
            return holding[0]
        best, *others = holding
        limit = FINALIST_RATIO * self.costs.predicted(best).ms
        final = [best, *(choice for choice in others if self.costs.predicted(choice).ms <= limit)][:FINALISTS]
        self.search.tune(final)
        times = self.search.timing.together(final)
        return min(final, key=times.__getitem__)

    def further(self, found: Found) -> list[Indices]:
        """All choices that hold, the fastest first as predicted, after some more: the best by losses as all verified plans correct them.

        Each plan that is verified moves the trend. Where none holds any more, the next ones are allowed less and less.
        """
        def holding() -> list[Indices]:
            choices = [choice for choice, held in found.tried.items() if held and any(choice) and self.holds(choice)]
            return sorted(choices, key=lambda choice: self.costs.predicted(choice).ms)

        allowed, kept = inf, holding()
        for _ in range(FURTHER_PLANS):
            fast_enough = WORTHWHILE_RATIO * self.costs.predicted(kept[0]).ms if kept else inf
            verified = self.search.verified
            factors = layer_factors([self.costs.losses(choice) for choice in verified], [verdict.kl for verdict in verified.values()])
            if kept:
                allowed = self._most_loss(kept[0])
            else:
                losses = [float(np.dot(factors, self.costs.losses(choice))) for choice in found.tried if any(choice)]
                allowed = min(allowed, *losses) / LIMIT_STEP
            near = (self.costs.pick("ms", {"loss": around * allowed, **self.limits}, factors) for around in LOSS_FACTORS)
            fresh = (c for c in near if c is not None and c not in found.tried)
            choice = next((c for c in fresh if self.costs.predicted(c).ms < fast_enough), None)
            if choice is None and kept:
                break
            if choice is None:
                continue
            found.holds(choice, lambda choice: self.holds(choice) and self._keeps_limits(choice))
            kept = holding()
        return kept

    def holds(self, indices: Indices) -> bool:
        """Whether a choice loses no more than it may, with `RISK` of being wrong."""
        if not any(indices):
            return True
        verdict, expected = self.search.verdict(indices), self.search.expected(indices)
        if expected is None:
            return verdict.drop + STANDARD_ERRORS_OF_ALL * verdict.uncertainty <= self.max_drop
        return max(verdict.drop, expected.drop + STANDARD_ERRORS * expected.uncertainty) <= self.max_drop

    def _keeps_limits(self, choice: Indices) -> bool:
        """As measured."""
        return all(value <= self.limits[name] for name, value in self.search.measured(choice, self.limits).items())

    def _most_loss(self, best: Indices) -> float:
        """That a plan may have: by the trend, or if there is none, as much as the best one that is known to hold."""
        trend = self.search.trend()
        return self.search.verdict(best).kl if trend is None else self._drop_to_loss(trend)

    def _drop_to_loss(self, trend: Trend) -> float:
        return self.max_drop / (trend.slope + STANDARD_ERRORS * trend.uncertainty)

    def _within(self, pick: Pick) -> Indices | None:
        """The choice whose ms and bytes, as measured, keep the limits; None if there is none."""

        def predict(choice: Indices) -> dict[str, float]:
            return asdict(self.costs.predicted(choice))

        if not self.limits:
            return pick({})
        return within(pick, predict, lambda choice: self.search.measured(choice, self.limits), self.limits).best

    def _start(self) -> tuple[float, float]:
        """The loss, as predicted, that comes to the points that may be lost; and a factor by which it may be off."""
        probes = self._probe()
        trend = Trend.fit((self.search.verdict(probe) for probe in probes), self.search.measure.step)
        if trend is None:
            return self.max_drop / self._points_per_loss(), MAX_STEP
        ratio = float(np.mean([self.search.verdict(probe).kl / self._predicted_loss(probe) for probe in probes]))
        return self._drop_to_loss(trend) / ratio, LIMIT_STEP

    def _probe(self) -> list[Indices]:
        """Verify plans that are beyond the budget, for the trend."""
        if not self.search.labelled:
            return []
        slope = self._points_per_loss()
        probes: list[Indices] = []
        for points in (points for each in PROBE_POINTS if (points := each * self.search.measure.step) > self.max_drop):
            probe = self.costs.pick("ms", {"loss": points / slope})
            if probe is None or not any(probe) or probe in probes:
                continue
            probes.append(probe)
            found = self.search.verdict(probe).drop / self._predicted_loss(probe)
            slope = float(np.clip(found, slope / MAX_STEP, slope * MAX_STEP))  # the next one goes by it
        return probes

    def _points_per_loss(self) -> float:
        """By the single layers' candidates that were evaluated."""
        verdicts = self.search.evaluated
        found = [verdict.kl for verdict in verdicts], [verdict.drop for verdict in verdicts]
        return points_per_loss(*found, self.search.measure.step)

    def _predicted_loss(self, indices: Indices) -> float:
        """Above 0."""
        return max(self.costs.predicted(indices).loss, SMALLEST)
