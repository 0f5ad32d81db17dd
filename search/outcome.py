"""What a search came to: the plan, and the network before and after in figures that were measured."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..factorization import Plan
    from .accuracy_model import Estimate
    from .budget import Budget
    from .calibration.evaluation import Verdict
    from .survey import LayerSurvey


@dataclass(frozen=True)
class Figures:
    """Of one network.

    Attributes
    ----------
    macs, params : int
        Of one run; floating-point constants.
    ms : float
        Milliseconds of one run on the target.
    bytes : int
        Of the ONNX file.
    accuracy : float
        Fraction of the held-out images that it gets right; without labels, on which it agrees with the dense network.
    """

    macs: int
    params: int
    ms: float
    bytes: int
    accuracy: float


@dataclass(frozen=True)
class LayerOutcome:
    """What was decided for one layer.

    Attributes
    ----------
    name : str
    method : str or None
        None: it stays dense, for `reason`.
    ranks : tuple of int
    error : float or None
        Relative, of its responses to the calibration images.
    ms_before, ms : float
        Of the layer by itself with its activation.
    reason : str or None
    survey : LayerSurvey
        Everything that was looked at.
    """

    name: str
    method: str | None
    ranks: tuple[int, ...]
    error: float | None
    ms_before: float
    ms: float
    reason: str | None
    survey: LayerSurvey = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("name", "method", "ranks", "error", "ms_before", "ms", "reason")
        candidates = [option.to_dict() for option in self.survey.options]
        return {**{name: getattr(self, name) for name in names}, "candidates": candidates, "refused": self.survey.refused}


@dataclass(frozen=True)
class Outcome:
    """What `compress_within` found.

    Attributes
    ----------
    plan : Plan
    budget : Budget
    layers : tuple of LayerOutcome
    before, after : Figures
        Dense, and with the plan; their times were taken in turns, and are told, as bounds are, in the time of the dense network's first
        measurement.
    predicted_ms : float
        Of the network with the plan, from its layers' times and those of two other networks, which were timed in turns with it.
    verdict : Verdict
        On the held-out images.
    expected : Estimate or None
        What it loses by the trend of all plans, where that says more than its own errors.
    images : dict of str to int
        In each part of the data, by its use.
    tried : int
        Plans that were verified on the held-out images.
    seconds : float
        That the search took.
    labels : bool
        Whether accuracy is that: otherwise it is agreement with the dense network.
    reading : dict
        How the dense network, as it was read, was compared with the file before anything was made of it: `Verified.to_dict`.
    """

    plan: Plan
    budget: Budget
    layers: tuple[LayerOutcome, ...]
    before: Figures
    after: Figures
    predicted_ms: float
    verdict: Verdict
    expected: Estimate | None
    images: dict[str, int]
    tried: int
    seconds: float
    labels: bool
    reading: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The report, without the plan, which is a file of its own."""
        head = {"model": self.plan.model, "target": self.plan.target, "budget": asdict(self.budget)}
        figures = {"before": asdict(self.before), "after": asdict(self.after), "predicted_ms": self.predicted_ms}
        search = {"images": self.images, "tried": self.tried, "seconds": self.seconds, "labels": self.labels, "reading": self.reading}
        verdict = {**self.verdict.to_dict(), "expected": self.expected and asdict(self.expected)}
        layers = [layer.to_dict() for layer in self.layers]
        return {**head, **figures, "verdict": verdict, **search, "layers": layers}

    def to_json(self) -> str:
        """`to_dict`, indented."""
        return json.dumps(self.to_dict(), indent=2) + "\n"
