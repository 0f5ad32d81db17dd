"""The curve of what accuracy costs: the fastest networks for losses from almost none to almost everything, verified and timed."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..factorization import Choice
from ..plots.canvas import save
from ..plots.pareto import draw
from .candidates import spread
from .result_files import CURVE, PICTURES
from .search_report import accuracy

if TYPE_CHECKING:
    from .knapsack import Indices
    from .measures.measure import Measure
    from .search import Search

CURVE_POINTS = 10
MAX_DROP = 20.0  # points of accuracy, or hundredths of what the dense network reaches: where the curve ends


@dataclass(frozen=True)
class Point:
    """One network.

    Attributes
    ----------
    ms : float
        Measured, all points in turns.
    predicted_ms : float
    macs : int
    bytes : int
        Of the ONNX file, from its weights.
    accuracy : float or None
    drop, uncertainty : float
        On the held-out images, as of Figures and Verdict.
    layers : dict of str to Choice
        Its plan.
    precision : dict of str to str
        Likewise.
    """

    ms: float
    predicted_ms: float
    macs: int
    bytes: int
    accuracy: float | None
    drop: float
    uncertainty: float
    layers: dict[str, Choice]
    precision: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "layers": {name: asdict(choice) for name, choice in self.layers.items()}}


def write_curve(search: Search, folder: Path) -> None:
    """Write the curve, as JSON and drawn."""
    points = curve(search)
    (folder / CURVE).write_text(to_json(points, search.measure), encoding="utf-8")
    name = f"{Path(search.network.name).stem} on {search.target.description or search.target.name}"
    figure = draw([point.to_dict() for point in points], name, search.measure.name.partition(" ")[0], search.measure.in_points)
    save(figure, [folder / picture for picture in PICTURES])


def curve(search: Search, count: int = CURVE_POINTS) -> list[Point]:
    """The points from the dense network, the first, to the fastest.

    Parameters
    ----------
    search : Search
    count : int
        At most so many networks besides the dense one.
    """
    choices = []
    for limit in _limits(search, 4 * count):
        chosen = search.costs.pick("ms", {"loss": limit})
        if chosen is not None and any(chosen) and chosen not in choices:
            choices.append(chosen)
    every, modules = [search.dense], [search.timing.timed(search.dense)]
    for chosen in spread(choices, count):
        if search.verdict(chosen).drop <= MAX_DROP * search.measure.step:
            every.append(chosen)
            modules.append(search.timing.timed(chosen))
    return [_point(search, chosen, ms) for chosen, ms in zip(every, search.timing.race(modules), strict=True)]


def to_json(points: Sequence[Point], measure: Measure) -> str:
    """``{"labels": ..., "measure": {...}, "points": [...]}``, indented."""
    content = {"labels": measure.truth, "measure": measure.to_dict(), "points": [point.to_dict() for point in points]}
    return json.dumps(content, indent=2) + "\n"


def _limits(search: Search, count: int) -> np.ndarray:
    losses = [option.loss for survey in search.surveys for option in survey.open if option.loss]
    return np.geomspace(min(losses), sum(losses), count) if losses else np.array([])


def _point(search: Search, chosen: Indices, ms: float) -> Point:
    options = search.costs.choices.chosen(chosen)
    layers = [(survey.layer, options[survey.layer.name]) for survey in search.surveys]
    macs = sum(layer.macs if option is None else option.candidate.macs for layer, option in layers)
    verdict, predicted = search.verdict(chosen), search.costs.predicted(chosen)
    figures = (ms, predicted.ms, macs, int(predicted.bytes), accuracy(verdict, search.measure), verdict.drop, verdict.uncertainty)
    return Point(*figures, search.costs.choices.factored(chosen), search.costs.choices.precision(chosen))
