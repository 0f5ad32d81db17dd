"""Tables for the terminal, made to be readable in 80 columns."""
from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..factorization.layer import Layer
    from ..targets import Target
    from .compare import Comparison
    from .inspect import Inspection

WIDE = 160


def console() -> Console:
    """Standard output, without markup: names of layers may hold brackets. What is no terminal does not limit the width."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDE)


def comparison_table(comparison: Comparison) -> Table:
    """One row for each network and engine; the fastest is bold."""
    machine = comparison.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    headings = ["model", "engine", "median\nms", "p90\nms", "MACs", "params", "file\nMB", "peak\nMB", "accu-\nracy", "max\nerror"]
    table = new_table(headings, range(2, 10))
    table.columns[1].no_wrap = True
    table.title = f"{machine['cpu']}, {machine['physical_cores']} cores; threads of every engine: {comparison.threads}"
    table.caption = (
        f"{versions}. File: what the engine loads. Peak: memory for the network, without libraries. Error: largest difference from"
        " the dense reference over its largest output."
    )
    fastest = min((row.latency_ms.median for row in comparison.rows), default=0.0)
    shown = None
    for row in comparison.rows:
        if shown is not None and row.model != shown:
            table.add_section()
        table.add_row(
            "" if row.model == shown else row.model,
            row.engine,
            milliseconds(row.latency_ms.median),
            milliseconds(row.latency_ms.p90),
            count(row.macs),
            count(row.params),
            f"{row.bytes / 1e6:.1f}",
            "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.1f}",
            "-" if row.accuracy is None else f"{row.accuracy:.1%}",
            "-" if row.max_error is None else f"{row.max_error:.0e}",
            style="bold" if row.latency_ms.median == fastest else None,
        )
        shown = row.model
    return table


def inspection_table(inspection: Inspection) -> Table:
    """One row for each layer, and the totals."""
    table = new_table(["layer", "weight", "stride", "output", "MACs", "share", "params", "factored forms, or why none"], range(4, 7))
    for report in inspection:
        layer = report.layer
        sizes = ("x".join(map(str, layer.stride)), "x".join(map(str, layer.output_size))) if layer.kind == "conv2d" else ("", "")
        forms: Any = ", ".join(report.methods) if report.methods else dim(report.reason or "")
        table.add_row(layer.name, _weight(layer), *sizes, count(layer.macs), f"{report.share:.1%}", count(layer.params), forms)
    table.add_section()
    table.add_row(f"all {len(inspection)}", "", "", "", count(inspection.macs), "", count(inspection.params), dim("params: biases too"))
    return table


def targets_table(targets: Iterable[Target], flags: Collection[str]) -> Table:
    """One row for each preset."""
    table = new_table(["name", "vector", "L1 / L2 / L3 KiB", "runs\nhere", "what it is"], ())
    for target in targets:
        caches = " / ".join(str(size >> 10) if size else "?" for size in (target.l1_bytes, target.l2_bytes, target.l3_bytes))
        runs = "yes" if set(target.features) <= set(flags) else "no"
        table.add_row(target.name, f"{target.vector_bits} bits", caches, runs, target.description)
    return table


def target_lines(target: Target) -> list[tuple[str, Any]]:
    """What there is to know of one target, for a human."""
    caches = " / ".join(f"{size >> 10} KiB" if size else "?" for size in (target.l1_bytes, target.l2_bytes, target.l3_bytes))
    return [
        ("name", f"{target.name} ({target.description})" if target.description else target.name),
        ("TVM target", target.tvm),
        ("vectors", f"{target.vector_registers} registers of {target.vector_bits} bits, {target.lanes} float32 each"),
        ("caches (L1 / L2 / L3)", caches),
        ("threads", f"{target.cores} (physical cores)"),
        ("ranks", f"rounded to multiples of {target.rank_multiple}"),
        ("CPU flags needed", " ".join(target.features)),
    ]


def milliseconds(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def count(number: int) -> str:
    """1234567 -> 1.23 M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}" if number < 999.5 * scale else f"{number / scale:.0f} {unit}"
    return str(number)


def size(number: int) -> str:
    """Bytes as kB or MB (powers of ten)."""
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def _weight(layer: Layer) -> str:
    return "x".join(map(str, layer.weight_shape)) + (f"\n{layer.groups} groups" if layer.groups > 1 else "")


def dim(text: str) -> Text:
    """For what matters less."""
    return Text(text, style="dim")


def new_table(headings: Sequence[str], right: Collection[int]) -> Table:
    """An empty table in the house's form; the columns in `right` hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left", caption_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left", overflow="fold", no_wrap=index in right)
    return table
