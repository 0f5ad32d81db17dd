"""The choice of method and ranks for one layer, by the part of the weight's energy that is kept."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..support.errors import Refusal
from .layer import Layer
from .method import Method


@dataclass(frozen=True)
class Choice:
    """How one layer is factored.

    Parameters
    ----------
    method
        A name in ``METHODS``, however it is spelled (`spelled`).
    ranks
        One for each rank of the method.
    metric
        The norm in which the factors are nearest to the weight: a name in ``METRICS``.
    """

    method: str
    ranks: tuple[int, ...]
    metric: str = "frobenius"

    def __post_init__(self) -> None:
        if isinstance(self.method, str):  # what is no string at all is told where a plan is checked
            object.__setattr__(self, "method", spelled(self.method))


def spelled(method: str) -> str:
    """A method's name as ``METHODS`` has it: `spatial-svd` and `Spatial_SVD` are ``spatial_svd``."""
    return method.strip().lower().replace("-", "_")


MINOR_SHARE = 0.5  # of a layer's even share of the network


def minor_layers(layers: Sequence[Layer]) -> dict[str, Refusal]:
    """The layers that would risk accuracy for next to nothing: with less than half an even share of both MACs and parameters.

    Typically the first convolution, of three channels, and the last dense layer: every later layer, or every class, sees their
    error, and no time or memory to speak of is saved.

    Returns
    -------
    dict of str to Refusal
        By name.
    """
    macs, params = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
    limit = MINOR_SHARE / len(layers) if layers else 0
    return {
        layer.name: Refusal(
            f"minor: {layer.macs / macs:.1%} of the MACs and {layer.params / params:.1%} of the parameters, not worth its error"
        )
        for layer in layers
        if layer.macs < limit * macs and layer.params < limit * params
    }


def choose_by_energy(layer: Layer, weight: np.ndarray, methods: list[Method], energy: float, multiple: int) -> Choice | Refusal:
    """Choose the method whose chain has the fewest MACs while it keeps ``energy`` of the weight's squared norm.

    The smallest ranks that keep the energy are rounded up to ``multiple``, never above the highest rank. Where only the
    rounding makes the chain cost as much as the layer, they are rounded down instead (never to zero), and somewhat less
    than the energy is kept.

    Parameters
    ----------
    layer : Layer
        The layer to factor.
    weight : ndarray, OIHW or OI
    methods : list of Method
        Those to choose from.
    energy : float in (0, 1]
        Fraction of the squared norm to keep.
    multiple : int
        Ranks are rounded to multiples of it.

    Returns
    -------
    Choice or Refusal
        A refusal when no method applies, the weight is not finite, none that saves MACs keeps the energy, or no chain has fewer MACs
        than the layer.

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
        exact = method.ranks_for_energy(weight, layer, energy)
        if isinstance(exact, Refusal):
            refusals.append(exact.reason)
            continue
        ranks = _saving_ranks(method, layer, exact, multiple)
        costs.append((method.macs(layer, ranks), method.name, ranks))
    if not costs:
        return Refusal("; ".join(refusals))
    macs, name, ranks = min(costs, key=lambda cost: cost[0])
    if macs >= layer.macs:
        return Refusal(f"{name} at rank {' and '.join(map(str, ranks))} would take {macs} MACs, the dense layer takes {layer.macs}")
    return Choice(name, ranks)


def _saving_ranks(method: Method, layer: Layer, exact: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """``exact`` rounded up, or down where only that saves MACs, or as they are where nothing does."""
    up = method.rounded(layer, exact, multiple, up=True)
    if method.macs(layer, up) < layer.macs:
        return up
    down = method.rounded(layer, exact, multiple, up=False)
    return down if method.macs(layer, exact) < layer.macs else exact
