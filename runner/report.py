"""What commands show: tables and lines for the terminal, readable in 80 columns."""
from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.text import Text

from ..support.listing import Listing
from ..support.printable import printable

if TYPE_CHECKING:
    from ..factorization.layer import Layer
    from ..targets import CpuTarget, GpuTarget, Target
    from .abilities import Ability
    from .bench.compare import Comparison
    from .inspect import Inspection

UNLIMITED = 10_000  # columns of a pipe or a file: what reads it wants a row in one line


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise, as a file does; the base class ends the process with exit code 1."""
        raise BrokenPipeError


def console(stream: TextIO | None = None) -> Console:
    """For what is shown on a stream; default: standard output. Nothing in a string is markup."""
    stream = stream or sys.stdout
    return _Console(file=stream, markup=False, emoji=False, highlight=False, width=None if stream.isatty() else UNLIMITED)


def show(things: Iterable[str | Listing], out: Console) -> None:
    """Lines, which are left to the terminal to break, and tables."""
    for thing in things:
        if isinstance(thing, str):
            out.print(Text(printable(thing)), soft_wrap=True)
        else:
            out.print(thing, crop=False)


def comparison_table(comparison: Comparison) -> Listing:
    """One row for each network and engine; the fastest is bold."""
    machine = comparison.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    headings = ["model", "engine", "median\nms", "p90\nms", "MACs", "params", "file\nMB", "peak\nMB", "accu-\nracy", "max\nerror"]
    table = Listing(
        headings,
        range(2, 10),
        title=_title(comparison),
        caption=f"{versions}. File: what the engine loads. Peak: memory for the network, without libraries. Error: largest difference from"
        " the dense reference over its largest output.",
    )
    if comparison.measurement is not None:
        table.caption += f" While it was measured, {comparison.measurement.load}."
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
            style="bold" if row.latency_ms.median == fastest else "",
        )
        shown = row.model
    return table


def _title(comparison: Comparison) -> str:
    machine = comparison.machine
    cpu = f"{machine['cpu']}, {machine['physical_cores']} cores"
    if gpu := machine.get("gpu"):
        how = f"its own times, inputs and outputs in its memory; rivals multiply in {gpu['precision']}"
        return f"{gpu['name']}, {gpu['driver']}; {how}; host: {cpu}"
    return f"{cpu}; threads of every engine: {comparison.threads}"


def inspection_table(inspection: Inspection) -> Listing:
    """One row for each layer, and the totals."""
    headings = ["layer", "weight", "stride", "output", "MACs", "share", "params", "factored forms, or why none"]
    table = Listing(headings, range(4, 7), remark=True)
    for report in inspection:
        layer = report.layer
        sizes = ("x".join(map(str, layer.stride)), "x".join(map(str, layer.output_size))) if layer.kind == "conv2d" else ("", "")
        forms: Any = ", ".join(report.methods) if report.methods else dim(report.reason or "")
        table.add_row(layer.name, _weight(layer), *sizes, count(layer.macs), f"{report.share:.1%}", count(layer.params), forms)
    table.add_section()
    table.add_row(f"all {len(inspection)}", "", "", "", count(inspection.macs), "", count(inspection.params), dim("params: biases too"))
    return table


def targets_table(targets: Iterable[Target], abilities: Mapping[str, Ability]) -> Listing:
    """One row for each preset, with what this machine can do for it.

    Parameters
    ----------
    targets : iterable of Target
    abilities : mapping of str to Ability
        By the names of targets.
    """
    table = Listing(["name", "vector\nor SMs", "L1 / L2 / L3 KiB", "com-\npile", "run\nhere", "emu-\nlate", "what it is"], remark=True)
    for target in targets:
        width, sizes = _width_and_caches(target)
        caches = " / ".join(str(size >> 10) if size else "?" for size in sizes)
        can = abilities[target.name]
        words = ("yes" if each else "no" for each in (can.compile, can.run, can.emulate))
        table.add_row(target.name, width, caches, *words, target.description)
    return table


def _width_and_caches(target: Target) -> tuple[str, tuple[int, ...]]:
    """The width of a CPU's vectors, or the SMs of a GPU, and the bytes of caches (of an SM: its shared memory)."""
    from ..targets import CpuTarget, GpuTarget

    if isinstance(target, CpuTarget):
        return f"{target.vector_bits} bits", (target.l1_bytes, target.l2_bytes, target.l3_bytes)
    assert isinstance(target, GpuTarget)
    return f"{target.model.sms} SMs", (target.model.shared_bytes, target.model.l2_bytes)


def target_lines(target: Target) -> list[tuple[str, Any]]:
    """What there is to know of one target, for a human."""
    from ..targets import CpuTarget, GpuTarget

    lines: list[tuple[str, Any]] = [
        ("name", f"{target.name} ({target.description})" if target.description else target.name),
        ("TVM target", target.tvm),
    ]
    if isinstance(target, CpuTarget):
        return lines + _cpu_lines(target)
    assert isinstance(target, GpuTarget)
    return lines + _gpu_lines(target)


def _gpu_lines(target: GpuTarget) -> list[tuple[str, Any]]:
    model = target.model
    return [
        ("code for", " ".join(target.features)),
        ("SMs", f"{model.sms} of {model.fma_per_cycle} float32 lanes at {model.clock_ghz:g} GHz"),
        ("registers, threads", f"{model.registers} and {model.threads} of an SM"),
        ("shared memory", f"{model.shared_bytes >> 10} KiB of an SM, {model.shared_block_bytes >> 10} KiB of a block"),
        ("L2 cache", f"{model.l2_bytes >> 10} KiB"),
        ("memory", f"{model.memory_bytes_per_cycle * model.clock_ghz:.0f} GB/s"),
        ("ranks", f"rounded to multiples of {target.rank_multiple}"),
    ]


def _cpu_lines(target: CpuTarget) -> list[tuple[str, Any]]:
    caches = " / ".join(f"{size >> 10} KiB" if size else "?" for size in (target.l1_bytes, target.l2_bytes, target.l3_bytes))
    return [
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
    return "x".join(map(str, layer.weight_shape)) + (f", {layer.groups} groups" if layer.groups > 1 else "")


def dim(text: str) -> Text:
    """For what matters less."""
    return Text(text, style="dim")
