"""The tables of the results without a board: kernels' inner loops, and whole networks; and all sections of the page."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from suite import Table
from tenfold.runner.report import milliseconds
from tenfold.targets import resolve_cpu

from .rank_tables import ranks_caption, ranks_table, sound, worst_table

LIMIT, DEPTHWISE_LIMIT = 0.9, 0.7  # of the peak: what falls below is listed
DEPTHWISE = "depthwise"
TITLES = {"tenfold": "Tenfold", "onnxruntime": "ONNX Runtime", "ncnn": "ncnn"}
NETWORKS, KERNELS, MODEL, PRECISION = "arm", "arm-kernels", "arm-model", "arm-precision"  # suites
HONEST = "No board was timed: instructions counted under QEMU, cycles by llvm-mca, misses by a simulated cache."


def main_loop(row: dict[str, Any], cpu: str) -> dict[str, Any] | None:
    """The loop in which a layer spends most: the deepest, with the largest register tile. None where no loop multiplies and adds."""
    return next(iter(row["cpus"][cpu]), None)


def cpus_of(content: dict[str, Any]) -> list[str]:
    """The CPUs of a file of results, in its order."""
    return list(next((row["cpus"] for row in content["rows"] if "error" not in row), {}))


def kernels_table(content: dict[str, Any]) -> Table:
    """One line for each list of layers: the share of the peak that main loops reach."""
    cpus, rows = cpus_of(content), sound(content)
    headings = ["layers of", "number", *(word for cpu in cpus for word in (f"{cpu}, median", "least", "below the limit"))]
    lines = []
    for name in sorted({name for row in rows for name in row["lists"]}, key=lambda name: ("-factored" in name, name)):
        mine, cells = [row for row in rows if name in row["lists"]], []
        for cpu in cpus:
            shares = [loop["share_of_peak"] for row in mine if (loop := main_loop(row, cpu))]
            below = sum(is_below(row, cpu) for row in mine)
            cells += [f"{median(shares):.0%}", f"{min(shares):.0%}", str(below)] if shares else ["-", "-", "-"]
        lines.append([name, str(len(mine)), *cells])
    return headings, lines


def is_below(row: dict[str, Any], cpu: str) -> bool:
    """Whether the main loop of a layer falls below the limit."""
    loop = main_loop(row, cpu)
    return loop is not None and loop["share_of_peak"] < (DEPTHWISE_LIMIT if row["kind"] == DEPTHWISE else LIMIT)


def slow_table(content: dict[str, Any], cpus: Sequence[str]) -> Table:
    """The layers whose main loop falls below the limit on one of some CPUs, and why."""
    headings = ["layer", "CPU", "of peak", "fmla", "accumulators", "loads", "on the stack", "why"]
    rows = []
    for row in sound(content):
        for cpu in cpus:
            if is_below(row, cpu):
                loop = main_loop(row, cpu)
                numbers = [str(loop[name]) for name in ("fmla", "accumulators", "loads", "stack")]
                rows.append([row["name"], cpu, f"{loop['share_of_peak']:.1%}", *numbers, reason(loop, cpu)])
    return headings, rows


def reason(loop: dict[str, Any], cpu: str) -> str:
    """Why a loop falls short: vectors on the stack, too many loads, a latency, or none of these."""
    figures = resolve_cpu(cpu).model
    if loop["stack"]:
        return "spills"
    if loop["loads"] / figures.loads_per_cycle > LIMIT * loop["fmla"] / figures.fma_per_cycle:
        return "loads"
    if loop["accumulators"] < figures.fma_per_cycle * figures.fma_latency:
        return "latency: few accumulators"
    return "other instructions" if loop["instructions"] > 1.5 * loop["fmla"] else "llvm-mca's latencies"


def networks_table(content: dict[str, Any]) -> Table:
    """One line for each network and engine."""
    headings = ["", "engine", "instructions", "cycles, all in L1", "misses: L1", "L2", "cycles with misses", "modelled ms", "against ours"]
    rows = []
    for row in sound(content):
        for engines in row["cpus"].values():
            ours = engines["tenfold"]["cycles"]
            for engine, found in engines.items():
                misses = [_millions(count) for count in found["misses"][:2]]
                rows.append([row["name"] if engine == "tenfold" else "", TITLES[engine], _millions(found["instructions"]),
                             _millions(found["core_cycles"]), *misses, _millions(found["cycles"]), milliseconds(found["ms"]),
                             "" if engine == "tenfold" else f"{found['cycles'] / ours:.2f} x"])
    return headings, rows


def form_of(row: dict[str, Any]) -> str:
    """Whether a network is dense, factored by a recipe, or as a search factored it."""
    return row["name"].partition(", ")[2] or "dense"


def summary(content: dict[str, Any]) -> str:
    """By CPU and form of the networks: the geometric mean of the best rival's cycles over ours, with misses and without."""
    parts = []
    for cpu in cpus_of(content):
        for form in dict.fromkeys(map(form_of, sound(content))):
            engines = [row["cpus"][cpu] for row in sound(content) if form_of(row) == form]
            with_misses, in_l1 = ([ratio for found in engines if (ratio := best_ratio(found, name))] for name in ("cycles", "core_cycles"))
            if with_misses:
                ahead = sum(ratio >= 1 for ratio in with_misses)
                parts.append(f"{cpu}, {form}: {geometric_mean(with_misses):.2f} x the best rival with misses, "
                             f"{geometric_mean(in_l1):.2f} x all in L1; ahead with misses in {ahead} of {len(with_misses)}")
    return "Geometric means of networks: " + ". ".join(parts) + "." if parts else ""


def best_ratio(engines: dict[str, dict[str, Any]], name: str) -> float | None:
    """The best rival's cycles over ours; None where there is no rival."""
    rivals = [found[name] for engine, found in engines.items() if engine != "tenfold"]
    return min(rivals) / engines["tenfold"][name] if rivals else None


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def facts(content: dict[str, Any]) -> str:
    """What the results come from, in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in content["machine"]["versions"].items())
    found = [HONEST, f"One image, one thread, float32. {content['date'][:10]}; {versions}."]
    models = content["machine"]["models"]
    if isinstance(models, dict):
        found += [f"{cpu} at {model['clock_ghz']} GHz: {model['model']}." for cpu, model in models.items()]
    if content["suite"] == NETWORKS:
        found.append(summary(content))
    failed = [f"{row['name']}: {row['error']}" for row in content["rows"] if "error" in row]
    failed += [f"{row['name']}, {what}: {why}" for row in sound(content) for what, why in row.get("failed", {}).items()]
    return " ".join(filter(None, found)) + "\n" + (f"\nFailed: {'; '.join(failed)}.\n" if failed else "")


def sections(folder: Path, read: Any, markdown: Any) -> dict[str, str]:
    """The text between the markers of each file of results, by the name of its markers.

    Parameters
    ----------
    folder : Path
    read, markdown : callable
        Of `results` and `table`.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = read(path)
        if content["suite"] == MODEL:
            found[MODEL] = markdown(ranks_table(content)) + "\n" + ranks_caption(content) + "\n"
            found["arm-worst"] = markdown(worst_table(content))
        elif content["suite"] == KERNELS:
            found[KERNELS] = markdown(kernels_table(content)) + "\n" + facts(content)
            found["arm-slow"] = markdown(slow_table(content, [cpu for cpu in cpus_of(content) if cpu != "neoverse-v1"]))
        elif content["suite"] != PRECISION:  # which has its place on another page
            found[f"arm-{path.stem}"] = markdown(networks_table(content)) + "\n" + facts(content)
    return found
