"""The tables of how well modelled cycles order candidates: correlations of ranks, and where model and machine disagree most."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr
from suite import Table

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
    spearman, in_l1, macs : float
        Over all candidates: the correlation of ranks of milliseconds with modelled cycles, with cycles as if all data were in L1, and with
        MACs.
    pairs, pairs_in_l1, pairs_by_macs : float
        Of the pairs within a layer whose times are apart, and not far (`APART` to `FAR`): the share that each of these three orders so.
    """

    number: int
    spearman: float
    in_l1: float
    macs: float
    pairs: float
    pairs_in_l1: float
    pairs_by_macs: float


def agreement(layers: Sequence[Candidates]) -> Agreement:
    """How far model and machine agree."""
    together = [each for layer in layers for each in layer]
    ms, cycles, core, macs = (column(together, name) for name in ("ms", "cycles", "core_cycles", "macs"))
    correlations = (float(spearmanr(ms, other).statistic) for other in (cycles, core, macs))
    return Agreement(len(ms), *correlations, *(share_in_order(layers, name) for name in ("cycles", "core_cycles", "macs")))


def share_in_order(layers: Sequence[Candidates], name: str) -> float:
    """The share of the pairs of close times that a figure orders as time does; NaN where there are no such pairs."""
    found = []
    for layer in layers:
        ms, figure = column(layer, "ms"), column(layer, name)
        ratios = ms[:, None] / ms[None, :]
        close = (ratios >= APART) & (ratios <= FAR)
        found.append((figure[:, None] > figure[None, :])[close])
    pairs = np.concatenate(found)
    return float(pairs.mean()) if pairs.size else float("nan")


def regret(layer: Candidates) -> float:
    """Milliseconds of the candidate that is fastest by the model, over those of the fastest."""
    ms = column(layer, "ms")
    return float(ms[column(layer, "cycles").argmin()] / ms.min())


def column(candidates: Candidates, name: str) -> np.ndarray:
    """One figure of all candidates."""
    return np.array([each[name] for each in candidates])


def sound(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are no failures."""
    return [row for row in content["rows"] if "error" not in row]


def ranks_table(content: dict[str, Any]) -> Table:
    """One line for each layer, each network, and all candidates."""
    headings = ["", "candidates", "Spearman", "all in L1", "MACs alone", "close pairs in order", "all in L1", "MACs alone",
                "the model's choice"]
    rows = sound(content)
    lines = [_line(row["name"], [row["candidates"]], f"{regret(row['candidates']):.2f} x") for row in rows]
    for title in dict.fromkeys(name for row in rows for name in row["lists"]):
        lines.append(_line(f"{title}, all layers", [row["candidates"] for row in rows if title in row["lists"]]))
    return headings, [*lines, _line("all", [row["candidates"] for row in rows])] if rows else []


def _line(name: str, layers: Sequence[Candidates], choice: str = "") -> list[str]:
    found = agreement(layers)
    return [name, str(found.number), f"{found.spearman:.3f}", f"{found.in_l1:.3f}", f"{found.macs:.3f}", f"{found.pairs:.0%}",
            f"{found.pairs_in_l1:.0%}", f"{found.pairs_by_macs:.0%}", choice]


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
    return (f"Timed on {machine['cpu']}, one thread, the fastest of interleaved rounds; the machine was {shared}. "
            f"Code for {machine['code_for']}, {machine['model']}. {content['date'][:10]}; {versions}.")
