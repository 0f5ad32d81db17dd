"""Singular values of a layer's weight, few enough to be kept in a report."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..factorization import METHODS, Choice, Layer
from ..factorization.method import SpectralMethod

USUAL = {"conv2d": "channel_svd", "dense": "svd"}  # how a weight is folded that no method of the plan folds
MOST_WORK = 2e9  # multiply-accumulates of a Gram matrix: below it nobody waits for a spectrum
KEPT = 48  # values of a spectrum

Spectra = dict[str, dict[str, list[Any]]]


def layer_spectra(layer: Layer, weight: np.ndarray, choice: Choice | None) -> Spectra | None:
    """Singular values over the largest one, at some ranks.

    Parameters
    ----------
    layer : Layer
    weight : ndarray, OIHW or OI
    choice : Choice or None
        What was chosen for the layer. Its method folds the weight, if it truncates singular values: that takes less than its factors did.

    Returns
    -------
    dict or None
        By the folding (the method, and the rank where it has several): ``ranks``, rising from 1 to the largest, and ``values``. None where
        the layer has none, or they would take long.
    """
    chosen = METHODS.get(choice.method) if choice is not None else None
    method = chosen if isinstance(chosen, SpectralMethod) else METHODS[USUAL[layer.kind]]
    if not isinstance(method, SpectralMethod) or method.check(layer) is not None:
        return None
    if method is not chosen and weight.size * min(weight.shape[0], weight.size // weight.shape[0]) > MOST_WORK:
        return None
    squares = method.spectra(weight)
    return {
        method.name if len(squares) == 1 else f"{method.name}, rank {number}": _thinned(np.sqrt(values / (values[0] or 1.0)))
        for number, values in enumerate(squares, start=1)
    }


def _thinned(values: np.ndarray) -> dict[str, list[Any]]:
    kept = np.unique(np.linspace(0, len(values) - 1, min(KEPT, len(values))).round().astype(int))
    return {"ranks": [int(index) + 1 for index in kept], "values": [round(float(values[index]), 6) for index in kept]}
