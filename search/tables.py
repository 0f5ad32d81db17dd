"""What became of each layer, for the terminal."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..runner.report import count, dim, milliseconds, size
from ..support.listing import Listing
from ..targets.target import FLOAT32

if TYPE_CHECKING:
    from .compression import Compression, LayerChange, SearchReport


def compression_table(done: Compression) -> Listing:
    """One row for each layer: what was chosen, its error, what it cost before and after, or why it stays dense."""
    return _counted(done) if done.search is None else _timed(done)


def compression_line(done: Compression) -> str:
    """The network before and after: all that is known."""
    if done.search is not None:
        return _searched(done, done.search) + tuning_words(done)
    fewer = f"{done.before.params / done.after.params:.1f} times fewer parameters" if done.after.params else ""
    differ = f"outputs differ from the dense network's by up to {done.output_error:.2g} of the largest, on random inputs"
    return f"{fewer}; {differ}{tuning_words(done)}"


def tuning_words(done: Compression) -> str:
    """What fine-tuning did to the accuracy, or, without labels, to the agreement with the dense network."""
    tuned = done.finetuning
    if tuned is None:
        return ""
    named = "agreement with the dense network" if tuned.after.accuracy is None else "accuracy"
    verdicts = tuned.before, tuned.after
    before, after = ((verdict.agreement if verdict.accuracy is None else verdict.accuracy) or 0.0 for verdict in verdicts)
    if tuned.rate is None:
        return f"; fine-tuning on {tuned.images} images made it no better: {named} {before:.2%} as before"
    return f"; fine-tuned on {tuned.images} images: {named} {before:.2%} -> {after:.2%} on the held-out ones"


def phases_table(found: SearchReport) -> Listing:
    """Where the time of a search went, the longest first."""
    table = Listing(["where the time went", "seconds", "share"], range(1, 3))
    rest = max(found.seconds - sum(found.phases.values()), 0.0)
    for name, seconds in sorted([*found.phases.items(), ("all else", rest)], key=lambda row: -row[1]):
        table.add_row(name, f"{seconds:.1f}", f"{seconds / found.seconds:.0%}" if found.seconds else "")
    return table


def _counted(done: Compression) -> Listing:
    headings = ["layer", "method", "ranks", "weight\nerror", "MACs\nbefore", "MACs", "times\nfewer", "why it is\nleft dense"]
    table = Listing(headings, range(3, 7), remark=True)
    for layer in done.layers:
        times = f"{layer.macs_before / layer.macs:.1f}" if layer.method and layer.macs else ""
        table.add_row(*_head(layer, layer.error), count(layer.macs_before), count(layer.macs), times, dim(layer.reason or ""))
    table.add_section()
    before, after = done.before.macs, done.after.macs
    table.add_row("all", "", "", "", count(before), count(after), f"{before / after:.1f}" if after else "", "")
    return table


def _timed(done: Compression) -> Listing:
    mixed = done.search is not None and done.search.on_bytes is not None
    headings = ["layer", "method", "ranks", "error", "ms\nbefore", "ms", "times\nfaster"]
    headings += ["precision", "why it is left dense,\nor in float32"] if mixed else ["why it is\nleft dense"]
    table = Listing(headings, range(3, 7), remark=True)
    for layer in done.layers:
        before, ms = layer.ms_before or 0.0, layer.ms or 0.0
        times = f"{before / ms:.1f}" if (layer.method or layer.precision != FLOAT32) and ms else ""
        cells = [*_head(layer, layer.response_error), milliseconds(before), milliseconds(ms), times]
        remarks = [reason for reason in (layer.reason, layer.precision_reason) if reason]
        table.add_row(*cells, *([layer.precision] if mixed else []), dim("; ".join(remarks)))
    table.caption = "error: of the layer's responses to the calibration images, relative; ms: of the layer by itself"
    if done.search is not None and done.search.modelled:
        table.caption += "; all ms are modelled, none was measured"
    return table


def _head(layer: LayerChange, error: float | None) -> tuple[str, str, str, str]:
    return layer.name, layer.method or "dense", ", ".join(map(str, layer.ranks)), "" if error is None else f"{error:.3f}"


def _searched(done: Compression, found: SearchReport) -> str:
    """MACs, milliseconds, bytes and accuracy, before and after."""
    before, after = done.before, done.after
    ms_before, ms = before.ms or 0.0, after.ms or 0.0
    return (
        f"{count(before.macs)} -> {count(after.macs)} MACs ({before.macs / after.macs:.1f} times fewer),"
        f" {milliseconds(ms_before)} -> {milliseconds(ms)} {'modelled ' if found.modelled else ''}ms ({ms_before / ms:.1f} times faster,"
        f" {milliseconds(found.predicted_ms)} ms predicted), {size(before.bytes)} -> {size(after.bytes)},"
        f" {_lost(done, found)}"
    )


def _lost(done: Compression, found: SearchReport) -> str:
    """What was lost, in the measure of the search."""
    measure, verdict = found.measure, found.verdict if done.finetuning is None else done.finetuning.after
    number = "{:.2f}" if measure.in_points else "{:.3g}"

    def said(drop: float, uncertainty: float) -> str:
        return f"{number.format(drop)} +-{number.format(uncertainty)}"

    trend = found.expected if done.finetuning is None else None
    expected = "" if trend is None else f", {said(trend.drop, trend.uncertainty)} by the trend of all plans"
    lost, images = said(verdict.drop, verdict.uncertainty), f"on {found.images['held_out']} held-out images"
    if measure.in_points:
        return f"{measure.change(done.before.accuracy, done.after.accuracy)} ({lost} points lost {images}{expected})"
    outputs = measure.by_output(verdict)
    if measure.truth:
        apart = f"; outputs diverge: {outputs}" if outputs else ""
        return f"{measure.change(done.before.accuracy, done.after.accuracy)} ({lost} lost {images}{expected}{apart})"
    return f"{measure.name} {lost} {images} ({outputs})"
