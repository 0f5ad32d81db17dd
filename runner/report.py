"""Tables for the terminal. Print them on a console without markup: names of layers may hold brackets."""
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..targets import Target
    from .compare import Comparison
    from .compress import Compression
    from .inspect import Inspection


def comparison_table(comparison: Comparison) -> Table:
    """One row for each network and engine; the fastest is bold."""
    machine = comparison.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    table = Table(
        title=f"{machine['cpu']}, {machine['physical_cores']} cores; threads of every engine: {comparison.threads}",
        caption=f"{versions}; batch as in the model; peak memory without libraries; error relative to the dense reference's largest output",
    )
    for heading in ("model", "engine"):
        table.add_column(heading, overflow="fold")
    for heading in ("median ms", "p90 ms", "MACs", "params", "file", "peak", "accuracy", "max error"):
        table.add_column(heading, justify="right", no_wrap=True)
    fastest = min((row.latency_ms.median for row in comparison.rows), default=0.0)
    for row in comparison.rows:
        table.add_row(
            row.model,
            row.engine,
            milliseconds(row.latency_ms.median),
            milliseconds(row.latency_ms.p90),
            count(row.macs),
            count(row.params),
            size(row.bytes),
            "-" if row.peak_bytes is None else size(row.peak_bytes),
            "-" if row.accuracy is None else f"{row.accuracy:.1%}",
            "-" if row.max_error is None else f"{row.max_error:.1e}",
            style="bold" if row.latency_ms.median == fastest else None,
        )
    return table


def inspection_table(inspection: Inspection) -> Table:
    """One row for each layer, and the totals."""
    headings = ["layer", "kind", "weight", "stride", "output", "MACs", "share", "params", "factored forms, or why none"]
    table = _layer_table(headings, right=range(5, 8))
    for report in inspection:
        layer = report.layer
        kind = layer.kind + (f" x{layer.groups} groups" if layer.groups > 1 else "")
        stride = "x".join(map(str, layer.stride)) if layer.kind == "conv2d" else ""
        output = "x".join(map(str, layer.output_size)) if layer.kind == "conv2d" else ""
        forms = ", ".join(report.methods) if report.methods else _dim(report.reason or "")
        cells = (layer.name, kind, "x".join(map(str, layer.weight_shape)), stride, output)
        table.add_row(*cells, count(layer.macs), f"{report.share:.1%}", count(layer.params), forms)
    table.add_section()
    totals = (count(inspection.macs), "", count(inspection.params))
    table.add_row("all", f"{len(inspection)} layers", "", "", "", *totals, _dim("params: biases too"))
    return table


def compression_table(done: Compression) -> Table:
    """One row for each layer, and the totals."""
    headings = ["layer", "method", "ranks", "weight error", "MACs before", "MACs", "times fewer", "why it is left dense"]
    table = _layer_table(headings, right=range(3, 7))
    for layer in done.layers:
        times = f"{layer.macs_before / layer.macs:.1f}" if layer.method and layer.macs else ""
        error = "" if layer.error is None else f"{layer.error:.3f}"
        ranks = ", ".join(map(str, layer.ranks))
        cells = (layer.name, layer.method or "dense", ranks, error, count(layer.macs_before), count(layer.macs), times)
        table.add_row(*cells, _dim(layer.reason or ""))
    table.add_section()
    times = f"{done.macs_before / done.macs:.1f}" if done.macs else ""
    table.add_row("all", "", "", "", count(done.macs_before), count(done.macs), times, "")
    return table


def targets_table(targets: Iterable[Target], flags: frozenset[str]) -> Table:
    """One row for each preset."""
    table = _layer_table(["name", "vector", "L1 / L2 / L3", "runs here", "what it is"], right=())
    for target in targets:
        runs = "yes" if set(target.features) <= flags else "no"
        table.add_row(target.name, f"{target.vector_bits} bits", _caches(target), runs, target.description)
    return table


def target_lines(target: Target) -> list[tuple[str, Any]]:
    """What there is to know of one target, for a human."""
    return [
        ("name", f"{target.name} ({target.description})" if target.description else target.name),
        ("TVM target", target.tvm),
        ("vectors", f"{target.vector_registers} registers of {target.vector_bits} bits, {target.lanes} float32 each"),
        ("caches (L1 / L2 / L3)", _caches(target)),
        ("threads", f"{target.cores} (physical cores)"),
        ("ranks", f"rounded to multiples of {target.rank_multiple}"),
        ("CPU flags needed", " ".join(target.features)),
    ]


def milliseconds(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def count(number: int) -> str:
    """1234567 -> 1.23 M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}" if number < 999.5 * scale else f"{number / scale:.0f} {unit}"
    return str(number)


def size(number: int) -> str:
    """Bytes as kB or MB (powers of ten)."""
    return f"{number / 1e6:.1f} MB" if abs(number) >= 1e6 else f"{number / 1e3:.0f} kB"


def _caches(target: Target) -> str:
    return " / ".join(_power_of_two(value) for value in (target.l1_bytes, target.l2_bytes, target.l3_bytes))


def _power_of_two(value: int) -> str:
    return "?" if not value else f"{value >> 20} MiB" if value >= 1 << 20 and value % (1 << 20) == 0 else f"{value >> 10} KiB"


def _dim(text: str) -> Text:
    return Text(text, style="dim")


def _layer_table(headings: list[str], right: Iterable[int]) -> Table:
    table = Table()
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left", overflow="fold", no_wrap=index in right)
    return table
