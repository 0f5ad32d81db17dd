"""The charts of a page: what accuracy costs, and singular values of a layer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from ..runner.report import count, milliseconds, size
from .chart import Chart, Line, Mark, path, x_axis, y_axis
from .sources import Compressed, score

AXES = {"ms": ("milliseconds", 1.0, milliseconds), "macs": ("MACs, millions", 1e6, count), "bytes": ("file, MB", 1e6, size)}
ROOM = 0.06  # of the values' range, around them
CROWDED = 0.6  # of the largest value, the smallest: what lies between fills too little of an axis that begins at 0


def pareto(source: Compressed) -> dict[str, Chart]:
    """A chart for each of milliseconds, MACs and bytes; none without a curve of at least two networks."""
    if source.curve is None or len(source.curve["points"]) < 2:
        return {}
    return {axis: _pareto(source, source.curve, axis) for axis in AXES}


def _pareto(source: Compressed, curve: Mapping[str, Any], axis: str) -> Chart:
    measure, points = curve["measure"], curve["points"]
    known = all(point["accuracy"] is not None for point in points)
    percent = measure is None or measure["units"] == "points"
    name = "accuracy" if measure is None else measure["name"]
    scale = 100.0 if percent and known else 1.0
    values = [scale * point["accuracy"] if known else point["drop"] for point in points]
    marks = [
        _Point(point, "square" if number == 0 else "circle", value, point["uncertainty"] * (1.0 if percent or not known else scale))
        for number, (point, value) in enumerate(zip(points, values, strict=True))
    ]
    after = source.report["after"]
    chosen = after["accuracy"] if known else ((source.report["search"] or {}).get("verdict") or {}).get("drop")
    if after["ms"] is not None and chosen is not None:
        marks.append(_Point(after, "diamond", scale * chosen, 0.0))
    label, unit, words = AXES[axis]
    xs = [mark.point[axis] / unit for mark in marks]
    lows, highs = [mark.value - mark.spread for mark in marks], [mark.value + mark.spread for mark in marks]
    room = ROOM * (max(highs) - min(lows))
    x, y = x_axis(*_costs(xs)), y_axis(min(lows) - room, max(highs) + room)
    drawn = tuple(
        Mark(
            x.at(at),
            y.at(mark.value),
            mark.shape,
            mark.words(words(mark.point[axis]), measure),
            *((y.at(mark.value - mark.spread), y.at(mark.value + mark.spread)) if mark.spread else (None, None)),
        )
        for at, mark in zip(xs, marks, strict=True)
    )
    order = sorted((place.x, place.y) for place, mark in zip(drawn, marks, strict=True) if mark.shape == "circle")
    lost = "points" if percent else (measure or {}).get("units", "")
    ylabel = f"{name}{', %' if scale == 100.0 else ''}" if known else f"lost, {lost}"
    return Chart(f"{name} over {label}", label, ylabel, x.ticks(), y.ticks(), (Line(path(order), 0),), drawn, drawn[0].y)


def _costs(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis: from 0 on, unless the networks would crowd in a part of it."""
    low, high = min(values), max(values)
    room = ROOM * (high - low)
    return (low - room, high + room) if low > CROWDED * high else (0.0, high * (1 + ROOM))


class _Point:
    """A network of the curve, before it is placed."""

    def __init__(self, point: Mapping[str, Any], shape: str, value: float, spread: float) -> None:
        self.point, self.shape, self.value, self.spread = point, shape, value, spread

    def words(self, cost: str, measure: Mapping[str, Any] | None) -> str:
        point = self.point
        what = {"square": "dense network", "circle": "factored", "diamond": "the network of this folder"}[self.shape]
        reached = score(point["accuracy"], measure)
        parts = [what, f"{milliseconds(point['ms'])} ms", f"{count(point['macs'])} MACs", size(point["bytes"])]
        parts += [f"{measure['name'] if measure else 'accuracy'} {reached}"] if reached else []
        if "drop" in point and self.shape == "circle":
            units = "points" if measure is None else measure["units"]
            parts.append(f"{point['drop']:.3g} {units} lost, known to ±{point['uncertainty']:.2g}")
            factored = len(point["layers"])
            parts.append(f"{factored} layer{'s' * (factored != 1)} factored")
        return ", ".join(parts)


def spectra(found: Mapping[str, Mapping[str, Any]], ranks: Sequence[int]) -> Chart | None:
    """Singular values over the largest one, with the ranks that were chosen; None without any.

    Parameters
    ----------
    found : mapping
        As of `search.layer_spectra`.
    ranks : sequence of int
        Of the method that folds so, in the order of the spectra; empty for a layer that stays dense.
    """
    if not found:
        return None
    x = x_axis(0.0, max(spectrum["ranks"][-1] for spectrum in found.values()))
    y = y_axis(0.0, 1.0)
    lines, marks = [], []
    for number, (label, spectrum) in enumerate(found.items()):
        places = [(x.at(rank), y.at(value)) for rank, value in zip(spectrum["ranks"], spectrum["values"], strict=True)]
        lines.append(Line(path(places), number, label))
        if len(ranks) == len(found):
            rank, largest = ranks[number], spectrum["ranks"][-1]
            value = _value(spectrum, rank)
            shape = ("circle", "diamond", "square")[number % 3]
            marks.append(Mark(x.at(rank), y.at(value), shape, f"{label}: {rank} of {largest} kept; the last of these is {value:.2g}"))
    return Chart("Singular values", "rank", "of the largest", x.ticks(), y.ticks(), tuple(lines), tuple(marks))


def _value(spectrum: Mapping[str, Any], rank: int) -> float:
    """Of a rank that may lie between those that are kept."""
    ranks, values = spectrum["ranks"], spectrum["values"]
    right = min(bisect_left(ranks, rank), len(ranks) - 1)
    if right == 0 or ranks[right] <= rank:
        return float(values[right])
    part = (rank - ranks[right - 1]) / (ranks[right] - ranks[right - 1])
    return float(values[right - 1] + part * (values[right] - values[right - 1]))
