"""What became of each layer, for the terminal."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..runner.report import count, dim, milliseconds, size
from ..support.listing import Listing

if TYPE_CHECKING:
    from .compress import Compression
    from .outcome import Outcome


def compression_table(done: Compression) -> Listing:
    """One row for each layer, and the totals."""
    headings = ["layer", "method", "ranks", "weight\nerror", "MACs\nbefore", "MACs", "times\nfewer", "why it is\nleft dense"]
    table = Listing(headings, range(3, 7), remark=True)
    for layer in done.layers:
        times = f"{layer.macs_before / layer.macs:.1f}" if layer.method and layer.macs else ""
        error = "" if layer.error is None else f"{layer.error:.3f}"
        cells = (layer.name, layer.method or "dense", ", ".join(map(str, layer.ranks)), error, count(layer.macs_before), count(layer.macs))
        table.add_row(*cells, times, dim(layer.reason or ""))
    table.add_section()
    times = f"{done.macs_before / done.macs:.1f}" if done.macs else ""
    table.add_row("all", "", "", "", count(done.macs_before), count(done.macs), times, "")
    return table


def outcome_table(done: Outcome) -> Listing:
    """One row for each layer: what was chosen, its error, milliseconds before and after, or why it stays dense."""
    headings = ["layer", "method", "ranks", "error", "ms\nbefore", "ms", "times\nfaster", "why it is\nleft dense"]
    table = Listing(headings, range(3, 7), remark=True)
    for layer in done.layers:
        error = "" if layer.error is None else f"{layer.error:.3f}"
        times = f"{layer.ms_before / layer.ms:.1f}" if layer.method else ""
        cells = (layer.name, layer.method or "dense", ", ".join(map(str, layer.ranks)), error, milliseconds(layer.ms_before))
        table.add_row(*cells, milliseconds(layer.ms), times, dim(layer.reason or ""))
    table.caption = "error: of the layer's responses to the calibration images, relative; ms: of the layer by itself"
    return table


def outcome_line(done: Outcome) -> str:
    """MACs, milliseconds, bytes and accuracy, before and after."""
    before, after, verdict = done.before, done.after, done.verdict
    expected = "" if done.expected is None else f", {done.expected.drop:.2f} +-{done.expected.uncertainty:.2f} by the trend of all plans"
    name = "accuracy" if done.labels else "agreement with the dense network"
    return (
        f"{count(before.macs)} -> {count(after.macs)} MACs ({before.macs / after.macs:.1f} times fewer),"
        f" {milliseconds(before.ms)} -> {milliseconds(after.ms)} ms ({before.ms / after.ms:.1f} times faster,"
        f" {milliseconds(done.predicted_ms)} ms predicted), {size(before.bytes)} -> {size(after.bytes)},"
        f" {name} {before.accuracy:.2%} -> {after.accuracy:.2%}"
        f" ({verdict.drop:.2f} +-{verdict.uncertainty:.2f} points lost on {done.images['held_out']} held-out images{expected})"
    )
