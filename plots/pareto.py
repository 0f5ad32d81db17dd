"""What accuracy costs: one point for each network, over milliseconds, multiply-accumulates and bytes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .canvas import name_text, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {"ms": ("milliseconds", 1.0), "macs": ("MACs, millions", 1e6), "bytes": ("MB", 1e6)}


def draw(points: Sequence[Mapping[str, Any]], title: str, ylabel: str = "accuracy", in_points: bool = True) -> Figure:
    """Draw three panels that share the accuracy, over milliseconds, MACs and bytes.

    Parameters
    ----------
    points : sequence of mappings
        ``accuracy`` (None: ``drop`` is shown), ``uncertainty``, ``ms``, ``macs`` and ``bytes``; the dense network first.
    title : str
        Above the panels.
    ylabel : str
        What ``accuracy`` is.
    in_points : bool
        Whether uncertainties are in points of it, hundredths.
    """
    shown = "drop" if any(point["accuracy"] is None for point in points) else "accuracy"
    figure, axes = panels(len(AXES))
    for panel, (name, (label, unit)) in zip(axes, AXES.items(), strict=True):
        ordered = sorted(points[1:], key=lambda point: point[name])
        bars = [point["uncertainty"] / (100 if in_points else 1) for point in ordered]
        values = [point[name] / unit for point in ordered]
        panel.errorbar(values, [point[shown] for point in ordered], bars, marker="o", markersize=4, capsize=2, label="factored")
        panel.plot([points[0][name] / unit], [points[0][shown]], "s", color="black", label="dense")
        panel.axhline(points[0][shown], color="grey", linestyle=":", linewidth=1)
        panel.set(xlabel=label, ylabel=ylabel, xlim=(0, None))
        panel.legend(fontsize="small", loc="lower right")
    words = name_text(title)
    figure.suptitle(words.pop("label"), **words)
    return figure
