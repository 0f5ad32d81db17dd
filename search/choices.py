"""What can be chosen for each layer: as it is or in one of its factored forms, in float32 or on bytes; and what that takes by itself."""
from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..factorization import Choice
from ..factorization.plan_json import INT8
from .knapsack import Indices, Item, Link, choose, total
from .survey import LayerSurvey, Option, fastest

if TYPE_CHECKING:
    from .precision.forms import ByteForm, ByteSurvey

FLOAT_BYTES, BYTE_BYTES = 4, 1  # bytes of a weight
NODE_BYTES = 240  # bytes in an ONNX file of each further stage, besides its weights: names, geometry, shape
QUANTIZER_BYTES = 900  # and of the quantizers around each stage on bytes
CHANNEL_BYTES = 5  # of the step and the zero point of each filter


class Choices:
    """The items of every layer, in milliseconds of layers by themselves.

    Parameters
    ----------
    surveys : sequence of LayerSurvey
    on_bytes : ByteSurvey, optional
        None: all layers stay in float32.

    Attributes
    ----------
    options : list of lists of Option or None
        By layer; None for the layer as it is. The first one of each layer is that in float32.
    forms : list of lists of ByteForm or None
        Likewise; None for items in float32.
    groups : list of lists of Item
    links : list of Link
        Conversions between the layers.
    excluded : list of (int, int)
        Items that are not to be taken.
    """

    def __init__(self, surveys: Sequence[LayerSurvey], on_bytes: ByteSurvey | None = None) -> None:
        self.surveys, self.on_bytes = list(surveys), on_bytes
        self.options: list[list[Option | None]] = [[None, *survey.open] for survey in surveys]
        self.forms: list[list[ByteForm | None]] = [[None] * len(options) for options in self.options]
        self.groups = [[_item(s, option) for option in options] for s, options in zip(surveys, self.options, strict=True)]
        self.links: list[Link] = []
        self.excluded: list[tuple[int, int]] = []
        if on_bytes is not None:
            self._add(on_bytes)

    def _add(self, found: ByteSurvey) -> None:
        for number, survey in enumerate(self.surveys):
            name, begun = survey.layer.name, len(self.groups[number])
            for form in found.open(name):
                self.options[number].append(form.option)
                self.forms[number].append(form)
                self.groups[number].append(_byte_item(survey, form, found.entry_ms(name)))
            if found.required and len(self.groups[number]) > begun:
                self.excluded += [(number, index) for index in range(begun)]
        at = {survey.layer.name: number for number, survey in enumerate(self.surveys)}
        for each in found.crossings.between:
            prices = found.to_bytes * each.to_bytes, found.to_float * each.to_float
            self.links.append(Link(at[each.source], at[each.reader], *prices))

    @cached_property
    def fastest(self) -> Indices:
        """The choice that takes the least time, whatever it loses."""
        if self.on_bytes is None:
            found = zip(self.surveys, self.options, strict=True)
            return tuple(options.index(fastest(survey)) for survey, options in found)
        chosen = choose(self.groups, "ms", {}, self.links, self.excluded)
        assert chosen is not None  # without limits every choice will do
        return tuple(chosen)

    def ms(self, indices: Sequence[int]) -> float:
        """The sum of the layers, with conversions."""
        return total(self.groups, indices, self.links).ms

    def chosen(self, indices: Sequence[int]) -> dict[str, Option | None]:
        """The options by the names of the layers, None for those that stay as they are."""
        return {s.layer.name: options[i] for s, options, i in zip(self.surveys, self.options, indices, strict=True)}

    def factored(self, indices: Sequence[int]) -> dict[str, Choice]:
        """As a plan has them."""
        return {name: option.candidate.choice for name, option in self.chosen(indices).items() if option is not None}

    def byte_forms(self, indices: Sequence[int]) -> dict[str, ByteForm]:
        """Of the layers that are on bytes."""
        found = zip(self.surveys, self.forms, indices, strict=True)
        return {s.layer.name: form for s, forms, i in found if (form := forms[i]) is not None}

    def precision(self, indices: Sequence[int]) -> dict[str, str]:
        """As a plan has it."""
        return dict.fromkeys(self.byte_forms(indices), INT8)


def _item(survey: LayerSurvey, option: Option | None) -> Item:
    if option is None:
        return Item(survey.dense_ms, 0.0, FLOAT_BYTES * survey.layer.params)
    candidate = option.candidate
    further = len(candidate.outline().stages) - 1
    return Item(option.ms, option.loss or 0.0, FLOAT_BYTES * candidate.params + NODE_BYTES * further)


def _byte_item(survey: LayerSurvey, form: ByteForm, entry_ms: float) -> Item:
    params, stages, filters = survey.layer.params, 1, survey.layer.out_channels
    if form.option is not None:
        chain = form.option.candidate.outline()
        params, stages, filters = chain.params, len(chain.stages), sum(stage.out_channels for stage in chain.stages)
    size = BYTE_BYTES * params + CHANNEL_BYTES * filters + NODE_BYTES * (stages - 1) + QUANTIZER_BYTES * stages
    return Item(form.ms + entry_ms, form.loss, size, on_bytes=True)
