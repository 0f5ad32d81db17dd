"""The tables of how well modelled cycles order candidates: correlations of ranks, and where model and machine disagree most."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr
from suite import Table
from tenfold.targets import resolve_cpu
from tenfold.targets.cpu_model import CpuModel

APART, FAR = 1.1, 1.5  # times as long: what a search should tell apart; what is told apart easily
QUIET = 0.1  # cores that others had, at most
WORST = 12  # disagreements that are listed

Candidates = Sequence[dict[str, Any]]  # of one layer


@dataclass(frozen=True)
class Agreement:
    """Of the candidates of some layers, modelled and timed.

    Attributes
    ----------
    number : int
    spearman : dict of str to float
        Over all candidates: the correlation of ranks of milliseconds with each figure (`FIGURES`).
    pairs : dict of str to float
        Of the pairs within a layer whose times are apart, and not far (`APART` to `FAR`): the share that each figure orders as time does;
        NaN where there are no such pairs.
    """

    number: int
    spearman: dict[str, float]
    pairs: dict[str, float]


def overlapped(candidate: dict[str, Any], model: CpuModel) -> float:
    """Cycles if every miss were foreseen: those of the instructions, or those in which the lines come, whichever are more."""
    first, *further = candidate["misses"]
    rates = (model.l3_bytes_per_cycle, model.memory_bytes_per_cycle)[-len(further) :]
    lines = sum(count / rate for count, rate in zip((first, *further), (model.l2_bytes_per_cycle, *rates), strict=True))
    return max(candidate["core_cycles"], model.line_bytes * lines)


FIGURES: dict[str, Callable[[dict[str, Any], CpuModel], float]] = {
    "with misses": lambda candidate, model: candidate["cycles"],
    "all in L1": lambda candidate, model: candidate["core_cycles"],
    "overlapped": overlapped,
    "MACs alone": lambda candidate, model: candidate["macs"],
}


def agreement(layers: Sequence[Candidates], model: CpuModel) -> Agreement:
    """How far model and machine agree; `model` has the figures of the preset that the code is for."""
    ms = [np.array([each["ms"] for each in layer]) for layer in layers]
    by_name = {name: [np.array([figure(each, model) for each in layer]) for layer in layers] for name, figure in FIGURES.items()}
    spearman = {name: float(spearmanr(np.concatenate(ms), np.concatenate(found)).statistic) for name, found in by_name.items()}
    return Agreement(sum(map(len, layers)), spearman, {name: share_in_order(ms, found) for name, found in by_name.items()})


def share_in_order(times: Sequence[np.ndarray], figures: Sequence[np.ndarray]) -> float:
    """The share of the pairs of close times, layer by layer, that a figure puts in the same order."""
    found = []
    for ms, figure in zip(times, figures, strict=True):
        ratios = ms[:, None] / ms[None, :]
        found.append((figure[:, None] > figure[None, :])[(ratios >= APART) & (ratios <= FAR)])
    pairs = np.concatenate(found)
    return float(pairs.mean()) if pairs.size else float("nan")


def regret(layer: Candidates) -> float:
    """Milliseconds of the candidate that is fastest by the model, over those of the fastest."""
    chosen = min(layer, key=lambda each: each["cycles"])
    return chosen["ms"] / min(each["ms"] for each in layer)


def sound(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are no failures."""
    return [row for row in content["rows"] if "error" not in row]


def ranks_table(content: dict[str, Any]) -> Table:
    """One line for each layer, each network, and all candidates."""
    headings = ["", "candidates", *(f"Spearman: {name}" if not at else name for at, name in enumerate(FIGURES)),
                *(f"close pairs in order: {name}" if not at else name for at, name in enumerate(FIGURES)), "the model's choice"]
    rows, model = sound(content), resolve_cpu(content["machine"]["code_for"]).model

    def line(name: str, layers: Sequence[Candidates], choice: str = "") -> list[str]:
        found = agreement(layers, model)
        return [name, str(found.number), *(f"{value:.3f}" for value in found.spearman.values()),
                *(f"{value:.0%}" for value in found.pairs.values()), choice]

    lines = [line(row["name"], [row["candidates"]], f"{regret(row['candidates']):.2f} x") for row in rows]
    for title in dict.fromkeys(name for row in rows for name in row["lists"]):
        lines.append(line(f"{title}, all layers", [row["candidates"] for row in rows if title in row["lists"]]))
    return headings, [*lines, line("all", [row["candidates"] for row in rows])] if rows else []


def worst_table(content: dict[str, Any]) -> Table:
    """The candidates whose rank within their layer by the model is furthest from the one by time.

    In the last column: modelled cycles for a nanosecond, over the median of the layer.
    """
    headings = ["layer", "candidate", "us", "rank", "modelled rank", "k cycles, all in L1", "for misses", "modelled against usual"]
    found = []
    for row in sound(content):
        candidates = row["candidates"]
        timed, modelled = (rankdata([each[name] for each in candidates]) for name in ("ms", "cycles"))
        usual = median(each["cycles"] / each["ms"] for each in candidates)
        for each, at, by_model in zip(candidates, timed, modelled, strict=True):
            cells = [row["name"], " ".join([each["method"], ",".join(map(str, each["ranks"]))]).strip(), f"{1e3 * each['ms']:.1f}",
                     f"{at:.0f} of {len(candidates)}", f"{by_model:.0f}", f"{each['core_cycles'] / 1e3:.0f}",
                     f"{each['miss_cycles'] / 1e3:.0f}", f"{each['cycles'] / each['ms'] / usual:.2f} x"]
            found.append((abs(at - by_model) / len(candidates), cells))
    return headings, [cells for _, cells in sorted(found, key=lambda each: -each[0])[:WORST]]


def ranks_caption(content: dict[str, Any]) -> str:
    """What the results come from."""
    machine, rows = content["machine"], sound(content)
    others = max((row["cores_of_others"] for row in rows), default=0.0)
    shared = f"shared: others had up to {others:.1f} of its {machine['logical_cpus']} cores" if others > QUIET else "quiet"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    caches = "; ".join(f"{level.upper()} {size >> 10} KiB" for level, size in machine["cache_bytes"].items())
    return (f"Timed on {machine['cpu']} ({caches}), one thread, the fastest of interleaved rounds; the machine was {shared}. "
            f"Code for {machine['code_for']}, {machine['model']}. {content['date'][:10]}; {versions}.")
