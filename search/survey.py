"""What is known of every candidate before choosing: milliseconds, error, loss, or why it is refused.

Coarse to fine: a few ranks of each method are timed and factored first. A method that another beats there in time and error
alike is not looked at further; the others get all their ranks, but for those that are far from the frontier of time and error by what is
known of their neighbours (`near_front`). Only what lies on that frontier is evaluated for real.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ..factorization import METHODS, Layer
from ..support.errors import TenfoldError
from ..support.phases import phase
from ..support.progress import Progress, reporter
from .accuracy_model import Curve
from .calibration.evaluation import Verdict
from .candidates import Candidate, Field, spread
from .near_front import far_from_front
from .sensitivity import Sensitivity
from .timing.latency_table import LatencyTable, TimedLayer

BEATEN_RATIO = 0.8  # of its time, at no more error: another form is that much better
EVALUATED_OPTIONS = 7  # candidates of a layer that are tried on real images
MAX_ERROR = 0.8  # relative error: not evaluated
LITTLE = 0.01  # of the time, and of the weights, of all layers: those that take no more of both, all together, stay as they are
NEGLIGIBLE_ERROR = 0.02  # relative error that is as good as none: one of 0.02 changes a fraction of a thousandth of what a layer says

Steps = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Option:
    """One candidate with what was found out about it.

    Attributes
    ----------
    candidate : Candidate
    ms, dense_ms : float
        Of the layer with it, and as it is. Infinite: it can't be compiled. Of one that is refused unmeasured, as expected.
    error : float or None
        Relative, in the data metric.
    loss : float or None
        In nats: measured, or from the layer's curve.
    verdict : Verdict or None
        Where it was tried on real images.
    refused : str or None
        Why it is out of the question.
    """

    candidate: Candidate
    ms: float
    dense_ms: float
    error: float | None = None
    loss: float | None = None
    verdict: Verdict | None = None
    refused: str | None = None

    @property
    def known_error(self) -> float:
        """`error`, infinite where it is not known."""
        return inf if self.error is None else self.error

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        choice = self.candidate.choice
        facts = {"method": choice.method, "ranks": list(choice.ranks), "metric": choice.metric, "macs": self.candidate.macs}
        ms = self.ms if self.ms < inf else None
        measured = {"ms": ms, "dense_ms": self.dense_ms, "error": self.error, "loss": self.loss, "refused": self.refused}
        return {**facts, **measured, "evaluated": None if self.verdict is None else self.verdict.to_dict()}


@dataclass(frozen=True)
class LayerSurvey:
    """Of one layer: its time as it is, its options, those that are refused among them, and why methods do not apply."""

    layer: Layer
    dense_ms: float
    options: tuple[Option, ...]
    refused: dict[str, str]

    @property
    def open(self) -> list[Option]:
        """Those that can be chosen."""
        return [option for option in self.options if option.refused is None]


def survey(
    fields: Sequence[Field], table: LatencyTable, sensitivity: Sensitivity, steps: Steps, progress: Progress
) -> list[LayerSurvey]:
    """Time, factor and evaluate the candidates of all layers.

    Parameters
    ----------
    fields : sequence of Field
    table : LatencyTable
    sensitivity : Sensitivity
    steps : dict
        What follows each layer element by element (`epilogues`).
    progress : callable
    """
    layers = [TimedLayer(field.layer, None, steps.get(field.layer.name, ())) for field in fields]
    with phase("timing candidates"):
        dense = table.ms(layers, progress)
    for timed in layers:
        if (error := table.failure(timed)) is not None:
            raise TenfoldError(f"{timed.layer.name}: the layer itself does not compile: {error}")
    milliseconds = {field.layer.name: ms for field, ms in zip(fields, dense, strict=True)}
    fields = _without_little(fields, dense)
    surveyor = _Surveyor(table, sensitivity, steps, reporter(progress), milliseconds)
    found = surveyor.options([candidate for field in fields for candidate in field.coarse()], [])
    kept = {field.layer.name: promising([option for option in found if option.candidate.layer == field.layer]) for field in fields}
    known = {option.candidate for option in found}
    finer = [c for field in fields for name in kept[field.layer.name] for c in field.ladders[name] if c not in known]
    far = {candidate: reason for candidate in finer if (reason := far_from_front(candidate, found)) is not None}
    passed = [Option(c, ms, milliseconds[c.layer.name], refused=reason) for c, (ms, reason) in far.items()]
    found += [*surveyor.options([candidate for candidate in finer if candidate not in far], found), *passed]
    surveys = []
    for field, ms in zip(fields, dense, strict=True):
        mine = [option for option in found if option.candidate.layer == field.layer]
        surveys.append(LayerSurvey(field.layer, ms, tuple(surveyor.evaluated(mine)), field.refused))
    return surveys


def _without_little(fields: Sequence[Field], ms: Sequence[float]) -> list[Field]:
    """The same fields; those of layers of which a network can gain next to nothing have no candidates."""
    every = range(len(fields))
    params = [field.layer.params for field in fields]
    time, weights = sum(ms), sum(params)
    left: set[int] = set()
    for number in sorted(every, key=lambda n: ms[n] / time + params[n] / weights):
        small = left | {number}
        if sum(ms[n] for n in small) > LITTLE * time or sum(params[n] for n in small) > LITTLE * weights:
            break
        left = small
    reasons = {n: f"it takes {ms[n] / time:.2%} of the time of all layers, and {params[n] / weights:.2%} of their weights" for n in left}
    return [replace(field, ladders={}, refused={"all": reasons[n]}) if n in left else field for n, field in enumerate(fields)]


def promising(options: Iterable[Option]) -> list[str]:
    """The methods that no other beats clearly, wherever they were tried."""
    open_ = [option for option in options if option.refused is None]
    names = []
    for option in open_:
        if not any(other.ms <= BEATEN_RATIO * option.ms and other.known_error <= option.known_error for other in open_):
            names.append(option.candidate.choice.method)
    return list(dict.fromkeys(names))


def beaten(option: Option, known: Iterable[Option]) -> Option | None:
    """What is no slower than an option whose error is not known yet, and has no more error than it can be hoped to have.

    That is the error of the same method at the next ranks above that are known; less than a negligible one is not hoped for.
    """
    mine = [other for other in known if other.error is not None and other.candidate.layer == option.candidate.layer]
    method, macs = option.candidate.choice.method, option.candidate.macs
    larger = [other for other in mine if other.candidate.choice.method == method and other.candidate.macs >= macs]
    hoped = min(larger, key=lambda other: other.candidate.macs).known_error if larger else 0.0
    return next((other for other in mine if other.ms <= option.ms and other.known_error <= max(hoped, NEGLIGIBLE_ERROR)), None)


def frontier(options: Iterable[Option]) -> list[Option]:
    """Those that no other beats in both time and error, from the slowest, which has the least error, to the fastest."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (o.known_error, o.ms)):
        if not kept or option.ms < kept[-1].ms:
            kept.append(option)
    return kept


def _order(option: Option) -> tuple[bool, int, int]:
    """Singular values first, which are quick; method by method, from the most MACs to the fewest."""
    method = option.candidate.choice.method
    return not METHODS[method].spectral, list(METHODS).index(method), -option.candidate.macs


@dataclass
class _Surveyor:
    table: LatencyTable
    sensitivity: Sensitivity
    steps: Steps
    progress: Progress
    dense: dict[str, float]

    def options(self, candidates: Sequence[Candidate], known: Sequence[Option]) -> list[Option]:
        """Timed, and if that pays, factored: from the dearest ranks down, which says of the cheaper ones that are beaten that they are."""
        parts = [self._parts(candidate) for candidate in candidates]
        with phase("timing candidates"):
            times = iter(self.table.ms([layer for part in parts for layer in part], self.progress))
        timed = []
        for candidate, part in zip(candidates, parts, strict=True):
            ms = sum(next(times) for _ in part) - sum(self.dense[reader.name] for reader in candidate.readers)
            failure = next((failure for layer in part if (failure := self._failure(layer)) is not None), None)
            timed.append(Option(candidate, ms, self.dense[candidate.layer.name], refused=failure))
        found: list[Option] = []
        for number, option in enumerate(sorted(timed, key=_order)):
            self.progress(f"factoring candidates ({option.candidate})", number, len(timed))
            found.append(self._judged(option, [*known, *found]))
        return found

    def _parts(self, candidate: Candidate) -> list[TimedLayer]:
        """What is timed of a candidate: its chain, or the layers that are left of a pruned one and of those behind it."""
        if candidate.prunes:
            return [TimedLayer(layer, None, self.steps.get(layer.name, ())) for layer in candidate.cut()]
        return [TimedLayer(candidate.layer, candidate.outline(), self.steps.get(candidate.layer.name, ()))]

    def _failure(self, layer: TimedLayer) -> str | None:
        error = self.table.failure(layer)
        return None if error is None else f"does not compile: {error}"

    def _judged(self, option: Option, known: Sequence[Option]) -> Option:
        if option.refused:
            return option
        if option.ms >= option.dense_ms:
            return replace(option, refused=f"not faster: {option.ms:.4f} ms, dense {option.dense_ms:.4f} ms")
        better = beaten(option, known)
        if better is not None:
            facts = f"{better.ms:.4f} ms at an error of {better.known_error:.3f}"
            return replace(option, refused=f"beaten by {better.candidate.choice.method}: {facts}")
        with phase("factoring candidates"):
            error = self.sensitivity.error(option.candidate)
        return replace(option, error=error, refused="no factors were found: they do not converge" if error is None else None)

    def evaluated(self, options: Sequence[Option]) -> list[Option]:
        """With losses: measured on the frontier, from a curve through these elsewhere."""
        worth_it = [option for option in frontier(o for o in options if o.refused is None) if option.known_error <= MAX_ERROR]
        best = spread(worth_it, EVALUATED_OPTIONS)
        verdicts = {}
        for number, option in enumerate(best):
            self.progress(f"evaluating candidates ({option.candidate})", number, len(best))
            with phase("evaluating candidates"):
                verdicts[option.candidate] = self.sensitivity.verdict(option.candidate)
        if not best:
            return [replace(o, refused=o.refused or f"error of {o.known_error:.2f}: nothing is left of the layer") for o in options]
        curve = Curve.fit((option.known_error, verdicts[option.candidate].kl) for option in best)
        result = []
        for option in options:
            verdict = verdicts.get(option.candidate)
            loss = None if option.refused else verdict.kl if verdict else curve(option.known_error)
            result.append(replace(option, verdict=verdict, loss=loss))
        return result


def fastest(survey: LayerSurvey) -> Option | None:
    """The option of a layer that takes the least time; None where it has none."""
    return min(survey.open, key=lambda option: option.ms, default=None)
