"""The exact choice: one item of every group, the least of one quantity with bounds on others (a multiple-choice knapsack).

    minimise    sum_g sum_i cost[g, i] x[g, i]
    such that   sum_i x[g, i] = 1 for every group g,   sum_g sum_i weight_k[g, i] x[g, i] <= limit_k for every bound k,   x in {0, 1}

Neighbours of which one is on bytes and the other is not (`Link`) pay for the conversion: the milliseconds get the terms

    price * z,   z >= sum_{i on bytes} x[reader, i] - sum_{i on bytes} x[source, i],   z >= 0            and the other way round

Where the price is above 0 and milliseconds matter, z is that difference, or 0: the choice stays exact.
Solved by SciPy's mixed-integer solver (HiGHS), with no gap.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    on_bytes : bool
        It reads and makes bytes, not float32.
    """

    ms: float
    loss: float
    bytes: float = 0.0
    on_bytes: bool = False


@dataclass(frozen=True)
class Link:
    """Two layers, the one a reader of what the other makes.

    Attributes
    ----------
    source, reader : int
        Their groups.
    to_bytes, to_float : float
        Milliseconds of the conversion where only the reader is on bytes, and where only the source is.
    """

    source: int
    reader: int
    to_bytes: float
    to_float: float

    def ms(self, source: Item, reader: Item) -> float:
        """Of the conversion between two items."""
        if source.on_bytes == reader.on_bytes:
            return 0.0
        return self.to_bytes if reader.on_bytes else self.to_float


def choose(
    groups: Sequence[Sequence[Item]], minimise: str, limits: Mapping[str, float], links: Sequence[Link] = (),
    excluded: Collection[tuple[int, int]] = (),
) -> list[int] | None:
    """The index of one item of each group; None if nothing satisfies the limits.

    Parameters
    ----------
    groups : sequence of sequences of Item
        None of them empty.
    minimise : str
        A field of Item. Among equal sums the least loss is taken (of losses, the fewest milliseconds).
    limits : dict of str to float
        The largest sums, by fields of Item.
    links : sequence of Link
        Between groups: conversions add to the milliseconds.
    excluded : collection of (int, int)
        Group and index of items that are not to be taken.
    """
    if not groups:
        return []
    sizes = [len(group) for group in groups]
    begins = np.concatenate([[0], np.cumsum(sizes)])
    items, further = int(begins[-1]), 2 * len(links)  # columns: of items, and of conversions
    values = {name: np.array([getattr(item, name) for group in groups for item in group], float) for name in ("ms", "loss", "bytes")}
    prices = [price for link in links for price in (link.to_bytes, link.to_float)]
    values = {name: np.concatenate([of_items, prices if name == "ms" else np.zeros(further)]) for name, of_items in values.items()}
    columns = np.arange(items)
    one_each = csr_array((np.ones(items), (np.repeat(np.arange(len(sizes)), sizes), columns)), (len(sizes), items + further))
    constraints = [LinearConstraint(one_each, 1, 1)]
    if links:
        constraints.append(LinearConstraint(_conversions(groups, begins, links), 0, np.inf))
    for name, limit in limits.items():
        # HiGHS allows an absolute error in each row: rows are scaled so that the limit is 1.
        scale = max(abs(limit), LIMIT_SLACK * values[name].max()) or 1.0
        constraints.append(LinearConstraint(values[name] / scale, -np.inf, limit / scale + LIMIT_SLACK))
    most = np.ones(items + further)
    most[[begins[group] + index for group, index in excluded]] = 0
    bounds, whole = Bounds(0, most), np.repeat([1, 0], [items, further])
    with phase("choosing"):
        result = milp(_cost(values, minimise), constraints=constraints, integrality=whole, bounds=bounds, options={"mip_rel_gap": 0})
    if result.x is None:
        return None
    return [int(np.argmax(part)) for part in np.split(result.x[:items], begins[1:-1])]


def _conversions(groups: Sequence[Sequence[Item]], begins: np.ndarray, links: Sequence[Link]) -> csr_array:
    """Rows z - (reader on bytes - source on bytes), and z - (source - reader): none is below 0."""
    rows = np.zeros((2 * len(links), begins[-1] + 2 * len(links)))
    for number, link in enumerate(links):
        for group, sign in ((link.reader, 1), (link.source, -1)):
            marks = np.array([item.on_bytes for item in groups[group]], float)
            part = slice(begins[group], begins[group + 1])
            rows[2 * number, part] -= sign * marks
            rows[2 * number + 1, part] += sign * marks
        rows[2 * number, begins[-1] + 2 * number] = rows[2 * number + 1, begins[-1] + 2 * number + 1] = 1
    return csr_array(rows)


def _cost(values: Mapping[str, np.ndarray], minimise: str) -> np.ndarray:
    """The cost, scaled, with a breath of the second quantity, so that ties break the same way every time."""
    second = "ms" if minimise == "loss" else "loss"
    return COST_SCALE * (_scaled(values[minimise]) + TIE_WEIGHT * _scaled(values[second]))


def _scaled(values: np.ndarray) -> np.ndarray:
    return values / (np.ptp(values) or 1.0)


def total(groups: Sequence[Sequence[Item]], chosen: Sequence[int], links: Sequence[Link] = ()) -> Item:
    """The sums over the chosen items, with the conversions between them."""
    items = [group[index] for group, index in zip(groups, chosen, strict=True)]
    ms, loss, size = (sum(getattr(item, name) for item in items) for name in ("ms", "loss", "bytes"))
    return Item(ms + sum(link.ms(items[link.source], items[link.reader]) for link in links), loss, size)
