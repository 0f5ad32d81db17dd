"""Why layers stay in float32 where a search could have put them on bytes."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..costs import Costs
from ..knapsack import Link
from .forms import ByteForm

if TYPE_CHECKING:
    from ..survey import Option


def why_float32(costs: Costs, chosen: Sequence[int]) -> dict[str, str]:
    """Say it for each layer that a choice leaves in float32; nothing where no layer could be on bytes.

    Parameters
    ----------
    costs : Costs
    chosen : sequence of int
        The choice.
    """
    found: dict[str, str] = {}
    survey = costs.choices.on_bytes
    if survey is None:
        return found
    on_bytes = costs.choices.byte_forms(chosen)
    for number, layer in enumerate(each.layer for each in costs.surveys):
        if layer.name not in on_bytes:
            option = costs.choices.options[number][chosen[number]]
            found[layer.name] = _why(costs, chosen, number, option, survey.open(layer.name), survey.forms[layer.name][0])
    return found


def _why(
    costs: Costs, chosen: Sequence[int], number: int, option: Option | None, forms: Sequence[ByteForm], whole: ByteForm
) -> str:
    if not forms:
        return f"no kernel on bytes: {whole.refused}"
    best = min(forms, key=lambda form: form.ms)
    ms = costs.surveys[number].dense_ms if option is None else option.ms
    if best.ms >= ms:
        return f"not faster on bytes: {best.ms:.4f} ms, in float32 {ms:.4f} ms"
    convert = _conversions(costs, chosen, number)
    if best.ms + convert >= ms:
        return f"on bytes {ms - best.ms:.4f} ms faster, but conversions would take {convert:.4f} ms"
    lost = 0.0 if option is None else option.loss or 0.0
    return f"on bytes {ms - best.ms - convert:.4f} ms faster, at a loss of {best.loss:.2g} nats, in float32 {lost:.2g}"


def _conversions(costs: Costs, chosen: Sequence[int], number: int) -> float:
    """Further milliseconds of conversions if this layer alone were on bytes: those that it would need, less those that it needs now."""
    choices = costs.choices
    assert choices.on_bytes is not None  # asked before
    marks = [group[index].on_bytes for group, index in zip(costs.groups, chosen, strict=True)]

    def price(link: Link) -> float:
        if marks[link.source] == marks[link.reader]:
            return 0.0
        return link.to_bytes if marks[link.reader] else link.to_float

    mine = [link for link in choices.links if number in (link.source, link.reader)]
    before = sum(price(link) for link in mine)
    marks[number] = True
    return sum(price(link) for link in mine) - before + choices.on_bytes.entry_ms(costs.surveys[number].layer.name)
