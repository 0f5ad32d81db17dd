"""Surveys -> what the exact choice is made from: for each layer, staying dense or one of its options, in milliseconds, loss and bytes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from ..factorization import Choice, Layer
from .knapsack import Indices, Item, choose, total
from .survey import LayerSurvey, Option

FLOAT_BYTES = 4  # bytes of a weight
NODE_BYTES = 240  # bytes in an ONNX file of each further stage, besides its weights: names, geometry, shape


@dataclass(frozen=True)
class Whole:
    """Two networks, measured as wholes: the dense one, and the one with the fastest option of every layer.

    Attributes
    ----------
    ms, fastest_ms : float
        Of a call of each.
    bytes : int
        Of the dense one's ONNX file.
    """

    ms: float
    fastest_ms: float
    bytes: int


class Costs:
    """What every layer's options cost, and the choice among them.

    A layer by itself finds its weights in the caches. So the time of a network is not the sum of its layers': it is taken to lie on the
    line through the networks that were measured, from the fastest to the dense one, over those sums; with `know` it becomes a broken line.

    Parameters
    ----------
    surveys : sequence of LayerSurvey
    whole : Whole
    """

    def __init__(self, surveys: Sequence[LayerSurvey], whole: Whole) -> None:
        self.surveys, self.whole = list(surveys), whole
        alone = sum(survey.dense_ms for survey in self.surveys)
        saved = alone - sum(fastest_ms(survey) for survey in self.surveys)
        self.scale = max(whole.ms - whole.fastest_ms, 0.0) / saved if saved > 0 else 1.0
        self.rest_ms = whole.ms - self.scale * alone
        self.options: list[list[Option | None]] = [[None, *survey.open] for survey in self.surveys]
        self.groups = [
            [self._item(survey, option) for option in options] for survey, options in zip(self.surveys, self.options, strict=True)
        ]
        self._rest_bytes = whole.bytes - sum(FLOAT_BYTES * survey.layer.params for survey in self.surveys)
        self._known = {whole.ms - self.scale * saved: whole.fastest_ms, whole.ms: whole.ms}  # what was measured, by what the line says

    def know(self, chosen: Sequence[int], ms: float) -> None:
        """Take the time of another network into account, as it was measured beside the dense one."""
        self._known[total(self.groups, chosen).ms + self.rest_ms] = ms

    def _corrected(self, ms: float, back: bool = False) -> float:
        """What the line says, on the broken line; or the other way round. More work never takes less time."""
        line = sorted(self._known)
        actual = list(accumulate((self._known[at] for at in line), max))
        begin, end = (actual, line) if back else (line, actual)
        # At both ends, the fastest network and the dense one, the two lines meet, and beyond them they are one.
        return float(np.interp(ms, begin, end)) if begin[0] <= ms <= begin[-1] else ms

    def pick(
        self, minimise: str, limits: Mapping[str, float], factors: Sequence[float] | np.ndarray | None = None
    ) -> Indices | None:
        """The best choice within limits of the whole network's ms, bytes and loss; None if there is none.

        `factors` of the layers' losses correct what was predicted.
        """
        rest, bounds = {"ms": self.rest_ms, "bytes": self._rest_bytes}, dict(limits)
        if "ms" in bounds:
            bounds["ms"] = self._corrected(bounds["ms"], back=True)
        groups = self.groups
        if factors is not None:
            groups = [[replace(item, loss=factor * item.loss) for item in group] for factor, group in zip(factors, groups, strict=True)]
        chosen = choose(groups, minimise, {name: limit - rest.get(name, 0.0) for name, limit in bounds.items()})
        return None if chosen is None else tuple(chosen)

    def predicted(self, chosen: Sequence[int]) -> Item:
        """Of the whole network."""
        items = total(self.groups, chosen)
        return Item(self._corrected(items.ms + self.rest_ms), items.loss, items.bytes + self._rest_bytes)

    def losses(self, chosen: Sequence[int]) -> list[float]:
        """Predicted, of each layer."""
        return [group[i].loss for group, i in zip(self.groups, chosen, strict=True)]

    @property
    def fastest(self) -> Indices:
        """The choice of the fastest option of every layer."""
        return tuple(options.index(fastest(survey)) for survey, options in zip(self.surveys, self.options, strict=True))

    def foretold(self, chosen: Sequence[int], measured: Mapping[Indices, float]) -> float:
        """The milliseconds of a choice beside networks that are measured now, on the broken line through these."""
        line = sorted((total(self.groups, other).ms, ms) for other, ms in measured.items())
        at = np.array([position for position, _ in line])
        return float(np.interp(total(self.groups, chosen).ms, at, list(accumulate((ms for _, ms in line), max))))

    def at(self, share: float) -> float:
        """The milliseconds of a network whose time lies between the fastest one's, 0, and the dense one's, 1."""
        return self.whole.fastest_ms + share * (self.whole.ms - self.whole.fastest_ms)

    def chosen(self, indices: Sequence[int]) -> dict[str, Option | None]:
        """The options by the names of the layers, None for those that stay dense."""
        return {s.layer.name: options[i] for s, options, i in zip(self.surveys, self.options, indices, strict=True)}

    def choices(self, indices: Sequence[int]) -> dict[str, Choice]:
        """As a plan has them."""
        return {name: option.candidate.choice for name, option in self.chosen(indices).items() if option is not None}

    def reasons(self, indices: Sequence[int]) -> dict[str, str]:
        """Why layers stay dense."""
        return {
            s.layer.name: _reason(s) for s, options, i in zip(self.surveys, self.options, indices, strict=True) if options[i] is None
        }

    def _item(self, survey: LayerSurvey, option: Option | None) -> Item:
        if option is None:
            return Item(self.scale * survey.dense_ms, 0.0, FLOAT_BYTES * survey.layer.params)
        candidate = option.candidate
        further = len(candidate.outline().stages) - 1
        return Item(self.scale * option.ms, option.loss or 0.0, FLOAT_BYTES * candidate.params + NODE_BYTES * further)


def fastest(survey: LayerSurvey) -> Option | None:
    """The option of a layer that takes the least time; None where it has none."""
    return min(survey.open, key=lambda option: option.ms, default=None)


def fastest_ms(survey: LayerSurvey) -> float:
    """Its milliseconds, or those of the dense layer."""
    option = fastest(survey)
    return survey.dense_ms if option is None else option.ms


def _reason(survey: LayerSurvey) -> str:
    layer: Layer = survey.layer
    best = fastest(survey)
    if best is not None:
        return f"dense is the better choice: at most {best.dense_ms - best.ms:.4f} of {best.dense_ms:.4f} ms could be saved"
    if survey.options:
        best = min(survey.options, key=lambda option: option.ms)
        choice = best.candidate.choice
        return f"{choice.method} {', '.join(map(str, choice.ranks))}: {best.refused}"
    return layer.reason or "; ".join(dict.fromkeys(survey.refused.values())) or "no method applies"
