"""A network read and simplified: what every verb of the API starts from."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ...frontends import Network, Reading
from ...frontends import load as load_network
from .fixed_point import chosen, simplify_onnx


def load(model: Any, **reading: Any) -> Network:
    """Read a trained network, and simplify it unless `Reading.simplify` is False.

    Parameters
    ----------
    model
        As of `frontends.load`.
    **reading
        The attributes of `frontends.Reading`, by name.

    Raises
    ------
    TenfoldError
        As of `frontends.load`.
    """
    network = load_network(model, **reading)
    return simplified(network) if Reading.of("load", reading).simplify else network


def simplified(network: Network, only: Collection[str] | None = None, without: Collection[str] = ()) -> Network:
    """The network with all exact rewrites done. Its reference stays the model as it was given.

    Parameters
    ----------
    network : Network
        Not modified.
    only : collection of str, optional
        Names of rewrites. Default: all.
    without : collection of str
        Rewrites to leave out.

    Returns
    -------
    Network
        `Network.simplified` says what was merged.

    Raises
    ------
    TenfoldError
        A name that is no rewrite.
    """
    graph, found = simplify_onnx(network.onnx, chosen(only, without))
    small = replace(network, onnx=graph)
    small.simplified = found
    return small
