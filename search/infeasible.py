"""What is said where a budget can't be met: the best that can be reached."""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .budget import Budget
    from .calibration.evaluation import Verdict
    from .knapsack import Indices
    from .search import Search


def best_reachable(search: Search, budget: Budget, limits: Mapping[str, float]) -> str:
    """For a budget that no choice was found for; `limits` are its bounds on ``ms`` and ``bytes``."""
    nearest = search.costs.pick("loss", limits)
    if nearest is None or budget.minimise == "loss":
        return f"{_failed(search, budget)}: {', '.join(_least(search, name) for name in limits)}"
    careful = [search.verdict(nearest)] if any(nearest) else list(search.verified.values())
    if not careful:
        return f"{_failed(search, budget)}: no factored form of any layer is faster than the layer on {search.target.name}"
    return f"{_failed(search, budget)}: the most careful plan loses {_loss(search, min(careful, key=lambda verdict: verdict.drop))}"


def best_accurate(search: Search, budget: Budget, indices: Indices) -> str:
    """For a budget whose bounds on time and size are met only by choices that lose too much, `indices` the least."""
    loss = _loss(search, search.verdict(indices))
    return f"{_failed(search, budget)}: the most accurate network within the other bounds loses {loss}"


def _failed(search: Search, budget: Budget) -> str:
    return f"the budget ({budget.text(search.measure.units)}) can't be met"


def _loss(search: Search, verdict: Verdict) -> str:
    return f"{search.measure.amount(verdict)} from {len(search.judge.data.x)} held-out images"


def _least(search: Search, name: str) -> str:
    """Of one quantity, whatever the others are: measured."""
    best = search.costs.pick(name, {})
    assert best is not None  # without limits every choice will do
    least = search.measured(best, [name])[name]
    if name == "bytes":
        return f"the smallest network has {least / 1e6:.3g} MB"
    return f"the fastest network takes {least:.3g} ms, {search.costs.whole.ms / least:.2f} times faster than the dense one"
