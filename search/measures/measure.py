"""The measure of a search: what it is called, its units, and how what is lost is put into words."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..calibration.evaluation import Verdict

POINTS = "points"
SCORES, VALUES, CLASSES = KINDS = "scores", "values", "classes"  # of outputs
KIND_UNITS = {SCORES: "nats", VALUES: "relative error", CLASSES: "fraction that differs"}


@dataclass(frozen=True)
class Measure:
    """What a budget of loss is in.

    Attributes
    ----------
    name : str
        ``accuracy``, ``agreement with the dense network``, ``divergence from the dense network``, or a metric's own name.
    units : str
        Of `Verdict.drop` and ``--max-drop``.
    truth : bool
        Whether labels say it. Then what plans lose goes with their divergence, which is known better (`accuracy_model.Trend`).
    step : float
        A small loss: one point of accuracy, or a hundredth of what the dense network reaches.
    outputs : dict of str to str
        The kind of each output, where divergences are taken (`output_kinds`).
    """

    name: str
    units: str
    truth: bool
    step: float = 1.0
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_points(self) -> bool:
        """Whether it is a fraction of the images, and losses are in points of it."""
        return self.units == POINTS

    def amount(self, verdict: Verdict) -> str:
        """What is lost, with its standard error."""
        if self.in_points:
            return f"{verdict.drop:.2f} points, known to +-{verdict.uncertainty:.2f}"
        return f"{verdict.drop:.4g} {self.units}, known to +-{verdict.uncertainty:.2g}"

    def change(self, before: float | None, after: float | None) -> str:
        """From the dense network to the one with a plan."""
        if before is None or after is None:
            return self.name
        return f"{self.name} {before:.2%} -> {after:.2%}" if self.in_points else f"{self.name} {before:.4g} -> {after:.4g}"

    def by_output(self, verdict: Verdict) -> str:
        """The divergence of each output; empty for classifiers."""
        if verdict.outputs is None:
            return ""
        return ", ".join(f"{name} {value:.3g} {KIND_UNITS[self.outputs[name]]}" for name, value in verdict.outputs.items())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {key: value for key, value in asdict(self).items() if key != "step"}


ACCURACY = Measure("accuracy", POINTS, True)
AGREEMENT = Measure("agreement with the dense network", POINTS, False)
