"""Singular value spectra: how fast the singular values of each layer's weight fall, folded as each method folds it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..factorization import METHODS, Layer
from ..factorization.method import SpectralMethod
from ..support.errors import TenfoldError
from .canvas import name_text, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS_SHOWN = {"conv2d": ("spatial_svd", "channel_svd", "tucker2"), "dense": ("svd",)}


def spectra(layers: Sequence[Layer], weights: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Singular values over the largest one, falling, by layer and by the folding: the method, and the rank where it has several."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer in layers:
        for method in (METHODS[name] for name in METHODS_SHOWN[layer.kind]):
            if not isinstance(method, SpectralMethod) or method.check(layer) is not None:
                continue
            squares = method.spectra(weights[layer.name])
            for number, values in enumerate(squares, start=1):
                label = method.name if len(squares) == 1 else f"{method.name}, rank {number}"
                found.setdefault(layer.name, {})[label] = np.sqrt(values / (values[0] or 1.0))
    return found


def draw(layers: Sequence[Layer], weights: Mapping[str, np.ndarray]) -> Figure:
    """One panel for each layer that can be factored, TenfoldError if there is none; the axis is the rank as a part of the largest."""
    found = spectra(layers, weights)
    if not found:
        raise TenfoldError("no layer of the network can be factored: there are no spectra to show")
    figure, axes = panels(len(found))
    for panel, (name, curves) in zip(axes, found.items(), strict=True):
        for label, values in curves.items():
            panel.plot(np.arange(1, len(values) + 1) / len(values), values, label=f"{label} ({len(values)})")
        panel.set_title(**name_text(name))
        panel.set(xlabel="rank, of the largest", ylabel="singular value, of the largest", ylim=(0, 1.02))
        panel.legend(fontsize="small")
    return figure
