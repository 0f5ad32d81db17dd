"""A search and its choice -> what the result says of them."""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .compression import Compression, LayerChange, SearchReport
from .precision.reasons import why_float32
from .timing.timer import model_of

if TYPE_CHECKING:
    from .budget import Budget
    from .calibration.evaluation import Verdict
    from .knapsack import Indices
    from .measures.measure import Measure
    from .search import Search


def search_report(search: Search, budget: Budget, chosen: Indices) -> SearchReport:
    """What a search says of the choice that it came to."""
    return SearchReport(
        budget=budget,
        predicted_ms=search.timing.foreseen(chosen),
        verdict=search.verdict(chosen),
        expected=search.expected(chosen) if any(chosen) else None,
        images={"calibration": search.calibration.images, "held_out": len(search.judge.data.x)},
        tried=len(search.verified),
        seconds=search.seconds,
        labels=search.labelled,
        measure=search.measure,
        phases={},
        surveys=tuple(search.surveys),
        modelled=model_of(search.table.device),
        on_bytes=search.on_bytes,
    )


def with_search(done: Compression, search: Search, chosen: Indices, report: SearchReport) -> Compression:
    """A result with what the search measured: milliseconds and accuracy, of the network and of its layers."""
    ms_before, ms = search.costs.whole.ms, search.measured(chosen, ["ms"])["ms"]
    before = replace(done.before, ms=ms_before, accuracy=accuracy(search.verdict(search.dense), search.measure))
    verdict = report.verdict if done.finetuning is None else done.finetuning.after
    after = replace(done.after, ms=ms, accuracy=accuracy(verdict, search.measure))
    return replace(done, before=before, after=after, layers=_layers(done.layers, search, chosen), search=report)


def accuracy(verdict: Verdict, measure: Measure) -> float | None:
    """What the measure gives for a network: accuracy, a metric, without labels agreement with the dense network; None of divergences."""
    return verdict.agreement if measure.in_points and not measure.truth else verdict.accuracy


def _layers(changes: tuple[LayerChange, ...], search: Search, chosen: Indices) -> tuple[LayerChange, ...]:
    """With what was found of the layers by themselves, and why those that stay dense do."""
    choices = search.costs.choices
    options, reasons, forms = choices.chosen(chosen), search.costs.reasons(chosen), choices.byte_forms(chosen)
    in_float32 = why_float32(search.costs, chosen)
    found = []
    for change, survey in zip(changes, search.surveys, strict=True):
        option, form = options[change.name], forms.get(change.name)
        change = replace(change, reason=reasons.get(change.name), ms_before=survey.dense_ms, ms=survey.dense_ms,
                         precision_reason=in_float32.get(change.name))  # fmt: skip
        change = change if option is None else replace(change, response_error=option.error, ms=option.ms)
        found.append(change if form is None else replace(change, ms=form.ms))
    return tuple(found)
