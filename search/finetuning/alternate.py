"""A search whose plans are tuned before they are judged: search and tuning take turns.

A plan that loses too much as it is may hold when it is tuned, and be faster. So plans are searched for with ever more to lose, and tuned;
the last one that holds after tuning, on the images held out, is the one.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...support.errors import TenfoldError
from ..budget import Budget
from ..find import STANDARD_ERRORS_OF_ALL, find
from .tuned import Tuned

if TYPE_CHECKING:
    from ..knapsack import Indices
    from ..search import Search

Tune = Callable[["Indices"], Tuned]
STEP = 2.0  # by which what a plan may lose before tuning grows from turn to turn
TURNS = 4  # plans that are tuned, at the most
MOST_DROP = 99.0  # points that a budget may be of
Found = tuple["Indices", Tuned]  # a choice, and what tuning made of it


def find_tuned(search: Search, budget: Budget, tune: Tune) -> Found:
    """The choice that a budget asks for, if plans are tuned, and what came of tuning it.

    Parameters
    ----------
    search : Search
    budget : Budget
    tune : callable
        Tunes the plan of a choice.

    Raises
    ------
    TenfoldError
        No plan keeps the budget, tuned or not.
    """
    if budget.minimise == "loss":
        return _most_accurate(search, budget, tune)
    assert budget.max_drop is not None  # otherwise time or size is bounded
    best: Found | None = None
    allowed = budget.max_drop
    for _ in range(TURNS - 1):
        allowed = min(STEP * allowed, MOST_DROP)
        indices = _searched(search, replace(budget, max_drop=allowed))
        if indices is None or (best is not None and _ms(search, indices) >= _ms(search, best[0])):
            continue
        tuned = tune(indices)
        if not holds(tuned, budget.max_drop):
            break
        best = indices, tuned
    if best is not None:
        return best
    indices = find(search, budget)
    return indices, tune(indices)


def holds(tuned: Tuned, max_drop: float) -> bool:
    """Whether a tuned network loses no more than it may: several are tried, any of which may pass by luck."""
    return tuned.after.drop + STANDARD_ERRORS_OF_ALL * tuned.after.uncertainty <= max_drop


def _most_accurate(search: Search, budget: Budget, tune: Tune) -> Found:
    """The plan that loses least within the limits, tuned; only then is its loss held against the budget."""
    indices = find(search, replace(budget, max_drop=None))
    tuned = tune(indices)
    if budget.max_drop is not None and not holds(tuned, budget.max_drop):
        verdict = tuned.after
        lost = f"{verdict.drop:.2f} +-{verdict.uncertainty:.2f} {search.measure.units}"
        raise TenfoldError(f"{search.network.name}: {budget}: the best plan loses {lost} after fine-tuning: allow more, or more epochs")
    return indices, tuned


def _searched(search: Search, budget: Budget) -> Indices | None:
    """None where no plan keeps the budget."""
    try:
        return find(search, budget)
    except TenfoldError:
        return None


def _ms(search: Search, indices: Indices) -> float:
    return search.costs.predicted(indices).ms
