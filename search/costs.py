"""Surveys -> what the exact choice is made from: for each layer, staying dense or one of its options, in milliseconds, loss and bytes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from ..factorization import Layer
from .choices import FLOAT_BYTES, Choices
from .knapsack import Indices, Item, choose, total
from .survey import LayerSurvey, fastest


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
    choices : Choices
    whole : Whole
    """

    def __init__(self, choices: Choices, whole: Whole) -> None:
        self.choices, self.surveys, self.whole = choices, choices.surveys, whole
        alone = sum(survey.dense_ms for survey in self.surveys)
        saved = alone - choices.ms(choices.fastest)
        self.scale = max(whole.ms - whole.fastest_ms, 0.0) / saved if saved > 0 else 1.0
        self.rest_ms = whole.ms - self.scale * alone
        self.groups = [[replace(item, ms=self.scale * item.ms) for item in group] for group in choices.groups]
        self.links = [replace(k, to_bytes=self.scale * k.to_bytes, to_float=self.scale * k.to_float) for k in choices.links]
        self._rest_bytes = whole.bytes - sum(FLOAT_BYTES * survey.layer.params for survey in self.surveys)
        self._known = {whole.ms - self.scale * saved: whole.fastest_ms, whole.ms: whole.ms}  # what was measured, by what the line says

    def know(self, chosen: Sequence[int], ms: float) -> None:
        """Take the time of another network into account, as it was measured beside the dense one."""
        self._known[self._total(chosen).ms + self.rest_ms] = ms

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
        within = {name: limit - rest.get(name, 0.0) for name, limit in bounds.items()}
        chosen = choose(groups, minimise, within, self.links, self.choices.excluded)
        return None if chosen is None else tuple(chosen)

    def predicted(self, chosen: Sequence[int]) -> Item:
        """Of the whole network."""
        items = self._total(chosen)
        return Item(self._corrected(items.ms + self.rest_ms), items.loss, items.bytes + self._rest_bytes)

    def losses(self, chosen: Sequence[int]) -> list[float]:
        """Predicted, of each layer."""
        return [group[i].loss for group, i in zip(self.groups, chosen, strict=True)]

    def foretold(self, chosen: Sequence[int], measured: Mapping[Indices, float]) -> float:
        """The milliseconds of a choice beside networks that are measured now, on the broken line through these."""
        line = sorted((self._total(other).ms, ms) for other, ms in measured.items())
        at = np.array([position for position, _ in line])
        return float(np.interp(self._total(chosen).ms, at, list(accumulate((ms for _, ms in line), max))))

    def at(self, share: float) -> float:
        """The milliseconds of a network whose time lies between the fastest one's, 0, and the dense one's, 1."""
        return self.whole.fastest_ms + share * (self.whole.ms - self.whole.fastest_ms)

    def reasons(self, indices: Sequence[int]) -> dict[str, str]:
        """Why layers stay dense."""
        chosen = self.choices.chosen(indices)
        return {s.layer.name: _reason(s) for s in self.surveys if chosen[s.layer.name] is None}

    def _total(self, chosen: Sequence[int]) -> Item:
        return total(self.groups, chosen, self.links)


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
