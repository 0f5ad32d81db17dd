"""The choice of method and ranks for one layer, by the part of the weight's energy that is kept."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Refusal
from .layer import Layer
from .method import Method


@dataclass(frozen=True)
class Choice:
    """How one layer is factored.

    Parameters
    ----------
    method
        A name in ``METHODS``.
    ranks
        One for each rank of the method.
    metric
        The norm in which the factors are nearest to the weight; ``"frobenius"`` is the known one.
    """

    method: str
    ranks: tuple[int, ...]
    metric: str = "frobenius"


def choose_by_energy(layer: Layer, weight: np.ndarray, methods: list[Method], energy: float, multiple: int) -> Choice | Refusal:
    """The method, of those given, whose chain has the fewest MACs while it keeps ``energy`` of the weight's squared norm.

    The smallest ranks that keep the energy are rounded up to ``multiple``, never above the highest rank. Where only the
    rounding makes the chain cost as much as the layer, they are rounded down instead (never to zero), and somewhat less
    than the energy is kept.

    Returns
    -------
    Choice or Refusal
        A refusal when no method applies, the weight is not finite, or no chain has fewer MACs than the layer.

    Raises
    ------
    ValueError
        When the weight does not fit the layer, or energy is not in (0, 1].
    """
    refusals, candidates = [], []
    for method in methods:
        refusal = method.check(layer)
        if refusal is None:
            candidates.append(method)
        elif refusal.reason not in refusals:
            refusals.append(refusal.reason)
    if not candidates:
        return Refusal("; ".join(refusals))
    if not np.isfinite(weight).all():
        return Refusal("the weight holds NaN or infinite values")

    costs = []
    for method in candidates:
        ranks = _saving_ranks(method, layer, method.ranks_for_energy(weight, layer, energy), multiple)
        costs.append((method.macs(layer, ranks), method.name, ranks))
    macs, name, ranks = min(costs, key=lambda cost: cost[0])
    if macs >= layer.macs:
        return Refusal(f"{name} at rank {' and '.join(map(str, ranks))} would take {macs} MACs, the dense layer takes {layer.macs}")
    return Choice(name, ranks)


def _saving_ranks(method: Method, layer: Layer, exact: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """``exact`` rounded up, or down where only that saves MACs, or as they are where nothing does."""
    up = tuple(min(-(-rank // multiple) * multiple, limit) for rank, limit in zip(exact, method.max_ranks(layer), strict=True))
    if method.macs(layer, up) < layer.macs:
        return up
    down = tuple(rank // multiple * multiple or rank for rank in exact)
    return down if method.macs(layer, exact) < layer.macs else exact
