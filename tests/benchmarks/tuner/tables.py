"""The tables of what tuning gains, and of what was measured to decide how it is done."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from tuned_networks import caption, table

Table = tuple[list[str], list[list[str]]]  # headings, rows


def networks(path: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> str:
    """A run of the suite."""
    content = read(path)
    return f"{markdown(table(content))}\n{_where(content)}; {caption(content)}.\n"


def searches(folder: Path, markdown: Callable[[Table], str]) -> str:
    """The networks that both searches tuned."""
    runs = [{row["name"]: row for row in json.loads((folder / name).read_text())["rows"] if "error" not in row}
            for name in ("networks.json", "metaschedule.json")]
    rows = []
    for name in (name for name in runs[0] if name in runs[1]):
        cells = [name]
        for run in runs:
            row = run[name]
            cells += [f"{row['ms']['model'] / row['ms']['tuned']:.3f}", str(row["trials"]), f"{row['seconds']:.0f}"]
        rows.append(cells)
    headings = ["network", "`tenfold`, times as fast", "trials", "s", "`metaschedule`, times as fast", "trials", "s"]
    return markdown((headings, rows)) + f"\n{_where(json.loads((folder / 'metaschedule.json').read_text()))}.\n"


def stock(path: Path, markdown: Callable[[Table], str]) -> str:
    """Single layers against stock MetaSchedule."""
    content = json.loads(path.read_text())
    rows = []
    for row in content["rows"]:
        ms = row["ms"]
        reached = str(row["trials_to_stock"]) if row["trials_to_stock"] > 0 else "never"
        rows.append([row["name"], f"{ms['stock']:.3g}", str(row["stock_trials"]), f"{ms['untuned']:.3g}", f"{ms['tuned']:.3g}",
                     str(row["trials"]), reached, f"{ms['stock'] / ms['tuned']:.2f} x"])
    headings = ["layer", "stock, ms", "its trials", "the model's choice, ms", "tuned, ms", "trials", "as fast as stock after"]
    headings.append("against stock")
    mean = geometric_mean([row["ms"]["stock"] / row["ms"]["tuned"] for row in content["rows"]])
    return markdown((headings, rows)) + f"\n{_where(content)}; {content['seconds']:.0f} s for each; geometric mean {mean:.2f} x.\n"


def forced(path: Path, markdown: Callable[[Table], str]) -> str:
    """Networks by the figures of another machine, tuned."""
    content = json.loads(path.read_text())
    rows = [[row["name"], f"{row['ms']['right']:.3g}", row["worst"], f"{row['ms']['worst']:.3g}", f"{row['ms']['tuned']:.3g}",
             str(row["trials"]), f"{row['ms']['right'] / row['ms']['tuned']:.0%}"] for row in content["rows"]]
    headings = ["network", "right figures, ms", "worst figures, of", "by them, ms", "tuned from there, ms", "trials", "of the right speed"]
    return markdown((headings, rows)) + f"\n{_where(content)}.\n"


def disturbance(path: Path, markdown: Callable[[Table], str]) -> str:
    """Kernels alone, and beside a build."""
    content = json.loads(path.read_text())
    rows = [[f"{threads}, {name}", f"{row['alone_ms']:.4f}", f"{row['alone_spread']:.0%}", f"{row['beside_ms'] / row['alone_ms']:.2f} x",
             f"{row['beside_spread']:.0%}"]
            for threads, found in content["threads"].items() for name, row in found.items()]
    machine = content["machine"]
    text = markdown((["threads, data of the kernel", "alone, ms", "spread, 10 to 90 %", "beside a build on one core", "spread"], rows))
    return f"{text}\n{machine['cpu']}, {machine['physical_cores']} cores.\n"


def throughput(path: Path, markdown: Callable[[Table], str]) -> str:
    """Simulated devices."""
    content = json.loads(path.read_text())
    rates = content["trials_per_second"]
    first = next(iter(rates.values()))
    rows = [[count, f"{rate:.1f}", f"{rate / first:.2f} x"] for count, rate in rates.items()]
    text = markdown((["devices", "trials a second", ""], rows))
    return f"{text}\nSimulated: a burst of a candidate takes {content['milliseconds']:g} ms on each, and building takes nothing.\n"


def sections(folder: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> Mapping[str, str]:
    """What stands between the markers of docs/tuning.md."""
    return {
        "tuning-networks": networks(folder / "networks.json", read, markdown),
        "tuning-searches": searches(folder, markdown),
        "tuning-stock": stock(folder / "stock.json", markdown),
        "tuning-forced": forced(folder / "forced.json", markdown),
        "tuning-disturbance": disturbance(folder / "disturbance.json", markdown),
        "tuning-throughput": throughput(folder / "throughput.json", markdown),
    }


def _where(content: dict[str, Any]) -> str:
    machine = content["machine"]
    return f"{machine['cpu']}, {machine['vector_bits']}-bit vectors, {content['threads']} threads"
