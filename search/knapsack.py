"""The exact choice: one item of every group, the least of one quantity with bounds on others (a multiple-choice knapsack).

    minimise    sum_g sum_i cost[g, i] x[g, i]
    such that   sum_i x[g, i] = 1 for every group g,   sum_g sum_i weight_k[g, i] x[g, i] <= limit_k for every bound k,   x in {0, 1}

Solved by SciPy's mixed-integer solver (HiGHS), with no gap.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from ..support.phases import phase

Indices = tuple[int, ...]  # a choice: of each group, in order, one item

TIE_WEIGHT = 1e-6  # of the range of the cost: what the second quantity counts for, so that it decides among choices that cost the same
COST_SCALE = 1e3  # of the cost: HiGHS stops at an absolute gap of 1e-6
LIMIT_SLACK = 1e-9  # of a limit: rounding


@dataclass(frozen=True)
class Item:
    """What a choice for one layer costs.

    Attributes
    ----------
    ms : float
        Milliseconds.
    loss : float
        Predicted, in any unit that adds up over layers.
    bytes : float
        Of its weights.
    """

    ms: float
    loss: float
    bytes: float = 0.0


def choose(groups: Sequence[Sequence[Item]], minimise: str, limits: Mapping[str, float]) -> list[int] | None:
    """The index of one item of each group; None if nothing satisfies the limits.

    Parameters
    ----------
    groups : sequence of sequences of Item
        None of them empty.
    minimise : str
        A field of Item. Among equal sums the least loss is taken (of losses, the fewest milliseconds).
    limits : dict of str to float
        The largest sums, by fields of Item.
    """
    if not groups:
        return []
    sizes = [len(group) for group in groups]
    values = {name: np.array([getattr(item, name) for group in groups for item in group], float) for name in ("ms", "loss", "bytes")}
    columns = np.arange(sum(sizes))
    one_each = csr_array((np.ones(len(columns)), (np.repeat(np.arange(len(sizes)), sizes), columns)), (len(sizes), len(columns)))
    constraints = [LinearConstraint(one_each, 1, 1)]
    for name, limit in limits.items():
        # HiGHS allows an absolute error in each row: rows are scaled so that the limit is 1.
        scale = max(abs(limit), LIMIT_SLACK * values[name].max()) or 1.0
        constraints.append(LinearConstraint(values[name] / scale, -np.inf, limit / scale + LIMIT_SLACK))
    bounds, whole = Bounds(0, 1), np.ones(len(columns))
    with phase("choosing"):
        result = milp(_cost(values, minimise), constraints=constraints, integrality=whole, bounds=bounds, options={"mip_rel_gap": 0})
    if result.x is None:
        return None
    ends = np.cumsum(sizes)[:-1]
    return [int(np.argmax(part)) for part in np.split(result.x, ends)]


def _cost(values: Mapping[str, np.ndarray], minimise: str) -> np.ndarray:
    """The cost, scaled, with a breath of the second quantity, so that ties break the same way every time."""
    second = "ms" if minimise == "loss" else "loss"
    return COST_SCALE * (_scaled(values[minimise]) + TIE_WEIGHT * _scaled(values[second]))


def _scaled(values: np.ndarray) -> np.ndarray:
    return values / (np.ptp(values) or 1.0)


def total(groups: Sequence[Sequence[Item]], chosen: Sequence[int]) -> Item:
    """The sums over the chosen items."""
    items = [group[index] for group, index in zip(groups, chosen, strict=True)]
    return Item(*(sum(getattr(item, name) for item in items) for name in ("ms", "loss", "bytes")))
