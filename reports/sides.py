"""Side by side: a row for each network and engine, and the sentence that says what was gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..runner.report import count, milliseconds, size
from .sources import Benched, Compiled, Compressed, Source, benched_of, compiled_of, same_place, score

TENFOLD = "tenfold"


@dataclass(frozen=True)
class Side:
    """One row. What is None or empty is not known.

    Attributes
    ----------
    name, engine, source : str
        The network; what ran it; the folder or file that says so.
    kind : str
        ``dense``, ``factored``, ``tenfold`` (either, in Tenfold) or ``rival``: how its bar is drawn.
    ms, low, high : float or None
        Median, the fastest run and p90.
    spread : float or None
        How far medians of rounds lie apart, relative.
    memory : str
        Planned, or measured.
    """

    name: str
    engine: str
    source: str
    kind: str
    macs: str
    params: str
    bytes: str
    ms: float | None = None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    runs: int | None = None
    memory: str = ""
    accuracy: str | None = None
    error: str = ""
    bar: float = 0.0
    whisker: tuple[float, float] | None = None

    @property
    def time(self) -> str:
        """The median, in words."""
        return "" if self.ms is None else milliseconds(self.ms)

    @property
    def spread_words(self) -> str:
        """p90, and how far rounds lie apart."""
        parts = [] if self.high is None else [f"p90 {milliseconds(self.high)}"]
        parts += [] if not self.spread else [f"rounds {self.spread:.0%} apart"]
        parts += [] if not self.runs else [f"{self.runs} runs"]
        return ", ".join(parts)


def sides(sources: Sequence[Source]) -> list[Side]:
    """All rows, in the order of the sources: an artifact that `bench` measured has one row."""
    artifacts, found = compiled_of(sources), []
    measured = [(bench, row) for bench in benched_of(sources) for row in bench.content["rows"]]
    for source in sources:
        if isinstance(source, Compressed):
            found += _compressed(source)
        elif isinstance(source, Compiled):
            if not any(_is_of(source, row) for _, row in measured):
                found.append(_compiled(source))
        else:
            found += [_benched(source, row, artifacts) for row in source.content["rows"]]
    return _with_bars(found)


def gains(source: Compressed) -> str:
    """The sentence that says what compressing came to."""
    before, after = source.report["before"], source.report["after"]
    search = source.report["search"] or {}
    measure = search.get("measure")
    parts = []
    if before["ms"] and after["ms"]:
        faster, how = before["ms"] / after["ms"], "modelled, not measured" if search.get("modelled") else ""
        parts.append(f"{milliseconds(before['ms'])} → {milliseconds(after['ms'])} ms ({faster:.2f} times as fast{how and f'; {how}'})")
    parts.append(f"{count(before['macs'])} → {count(after['macs'])} MACs")
    parts.append(f"{size(before['bytes'])} → {size(after['bytes'])}")
    first, last = score(before["accuracy"], measure), score(after["accuracy"], measure)
    if first and last:
        parts.append(f"{measure['name'] if measure else 'accuracy'} {first} → {last}")
    verdict = search.get("verdict")
    if verdict and verdict["drop"] is not None and measure and verdict["uncertainty"] is not None:
        parts.append(f"{verdict['drop']:.3g} {measure['units']} lost, known to ±{verdict['uncertainty']:.2g}")
    return "; ".join(parts)


def _compressed(source: Compressed) -> list[Side]:
    measure = (source.report["search"] or {}).get("measure")
    rows = []
    for key, kind in (("before", "dense"), ("after", "factored")):
        figures = source.report[key]
        engine = TENFOLD if figures["ms"] is not None else ""
        error = source.report["output_error"] if key == "after" else None
        rows.append(Side(f"{kind} network", engine, source.name, kind, *_costs(figures), ms=figures["ms"],
                         accuracy=score(figures["accuracy"], measure), error=_error(error)))  # fmt: skip
    return rows


def _compiled(source: Compiled) -> Side:
    manifest = source.manifest
    costs = count(manifest.macs), count(manifest.params), size(manifest.bytes)
    return Side(source.name, TENFOLD, manifest.name, TENFOLD, *costs, memory=_planned(source))


def _benched(source: Benched, row: dict[str, Any], artifacts: Sequence[Compiled]) -> Side:
    artifact = next((each for each in artifacts if _is_of(each, row)), None)
    memory = "" if row["peak_bytes"] is None else f"{size(row['peak_bytes'])} at its peak"
    if artifact is not None:
        memory = ", ".join(part for part in (memory, _planned(artifact)) if part)
    times = row["latency_ms"]
    return Side(
        row["model"], row["engine"], source.name, TENFOLD if row["engine"] == TENFOLD else "rival", *_costs(row), ms=times["median"],
        low=times["min"], high=times["p90"], spread=times["spread"], runs=times["runs"], memory=memory,
        accuracy=score(row["accuracy"], None), error=_error(row["max_error"]),
    )  # fmt: skip


def _is_of(source: Compiled, row: dict[str, Any]) -> bool:
    return row["engine"] == TENFOLD and same_place(source.path, row["model"])


def _planned(source: Compiled) -> str:
    return f"{size(source.manifest.memory['planned'])} planned" if "planned" in source.manifest.memory else ""


def _costs(figures: dict[str, Any]) -> tuple[str, str, str]:
    return count(figures["macs"]), count(figures["params"]), size(figures["bytes"])


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:.1e}" if error else "0"


def _with_bars(rows: list[Side]) -> list[Side]:
    """With the lengths of bars, in percent of the longest."""
    longest = max((max(row.ms, row.high or 0.0) for row in rows if row.ms is not None), default=1.0)
    found = []
    for row in rows:
        if row.ms is not None:
            ends = (row.low, row.high) if row.low is not None and row.high is not None else None
            whisker = None if ends is None else (100 * ends[0] / longest, 100 * max(ends[1] - ends[0], 0.0) / longest)
            row = replace(row, bar=100 * row.ms / longest, whisker=whisker)
        found.append(row)
    return found
