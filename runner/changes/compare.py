"""`tenfold.compare`: what became worse from one file of results to the next, beyond noise."""
from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ...support.errors import TenfoldError
from .measured import ACCURACY, FIGURES, LATENCY, Measured, Results, differing, matched
from .read_results import read_results

THRESHOLD = 5.0  # percent
MAX_DROP = 0.5  # points of accuracy
ROUNDING = 1e-9  # of a difference of two fractions
SAME, BETTER, WORSE = "same", "better", "worse"


@dataclass(frozen=True)
class Change:
    """One figure of one row.

    Attributes
    ----------
    old, new : float
        Milliseconds, bytes, multiply-accumulates, or the fraction that is right.
    noise : float
        What it must change by to count: a fraction of the smaller one, of accuracy a difference.
    verdict : str
        ``same``, ``better`` or ``worse``.
    """

    old: float
    new: float
    noise: float
    verdict: str

    @property
    def relative(self) -> float:
        """How much more it is, as a fraction of the old one."""
        return self.new / self.old - 1 if self.old else 0.0 if self.new == self.old else math.inf


@dataclass(frozen=True)
class RowChange:
    """A network in an engine, which both files have.

    Attributes
    ----------
    old, new : Measured
    figures : dict of str to Change
        Those that both have.
    """

    old: Measured
    new: Measured
    figures: dict[str, Change]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        keys = {name: getattr(self.new, name) for name in ("model", "engine", "batch", "threads")}
        figures = {
            name: {"old": one.old, "new": one.new, "relative": one.relative, "noise": one.noise, "verdict": one.verdict}
            for name, one in self.figures.items()
        }
        return {**keys, "old_model": self.old.model, "figures": figures}


@dataclass(frozen=True)
class Changes:
    """What changed between two files of results.

    Attributes
    ----------
    old, new : Results
    rows : list of RowChange
        In the order of the old file.
    missing, added : list of Measured
        Rows of the old file alone, and of the new one alone.
    differences : list of str
        What else differs: the machine, where that was allowed, and versions.
    threshold, max_drop : float
        As of `compare`.
    """

    old: Results
    new: Results
    rows: list[RowChange]
    missing: list[Measured]
    added: list[Measured]
    differences: list[str]
    threshold: float
    max_drop: float

    def having(self, verdict: str, figures: Collection[str] = (LATENCY,)) -> list[RowChange]:
        """Rows in which one of these figures has this verdict."""
        return [row for row in self.rows if any(name in figures and one.verdict == verdict for name, one in row.figures.items())]

    @property
    def slower(self) -> list[RowChange]:
        """The rows that take longer than before, beyond noise."""
        return self.having(WORSE)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        lone = {
            name: [{"model": row.model, "engine": row.engine, "batch": row.batch, "threads": row.threads} for row in rows]
            for name, rows in (("missing", self.missing), ("added", self.added))
        }
        files = {
            name: {"source": file.source, "kind": file.kind, "machine": file.machine, "versions": file.versions, "notes": file.notes}
            for name, file in (("old", self.old), ("new", self.new))
        }
        return {
            **files, "threshold": self.threshold, "max_drop": self.max_drop, "differences": self.differences,
            "slower": len(self.slower), "faster": len(self.having(BETTER)), "rows": [row.to_dict() for row in self.rows], **lone,
        }  # fmt: skip


def compare(
    old: Any, new: Any, *, threshold: float = THRESHOLD, max_drop: float = MAX_DROP, across_machines: bool = False
) -> Changes:
    """Say what became slower, larger or less accurate.

    A time changed where it differs by more than the threshold, and by more than the spread of either run. Bytes, memory and
    multiply-accumulates changed where they differ by more than the threshold; accuracy, where it differs by more than `max_drop`.

    Parameters
    ----------
    old, new : path, dict, Comparison or Compression
        What `bench` or `compress` returned, or a file: of ``tenfold bench --json``, ``tenfold compile --json``, ``report.json`` of
        `compress`; or the folder of an artifact or of `compress`.
    threshold : float
        Percent.
    max_drop : float
        Points of accuracy.
    across_machines : bool
        Compare results of different machines, or threads, too.

    Raises
    ------
    TenfoldError
        No such file, no results in it, no row in common, or other machines.
    """
    for name, value in (("threshold", threshold), ("max-drop", max_drop)):
        if not 0 <= value < math.inf:
            raise TenfoldError(f"{name} must be 0 or more, not {value:g}")
    before, after = read_results(old), read_results(new)
    machines = list(differing(before.machine, after.machine))
    if machines and not across_machines:
        raise TenfoldError(f"{before.source} and {after.source} are of different machines or targets ({'; '.join(machines)}): what changed "
                           "says nothing of the code; --across-machines compares them all the same")
    pairs, missing, added = matched(before.rows, after.rows, across_machines)
    if not pairs:
        raise TenfoldError(_nothing(before, after))
    differences = [*machines, *differing(_threads(before), _threads(after)), *differing(before.versions, after.versions)]
    rows = [_row(one, other, threshold / 100, max_drop / 100) for one, other in pairs]
    return Changes(before, after, rows, missing, added, differences, threshold, max_drop)


def _threads(file: Results) -> dict[str, Any]:
    found = sorted({row.threads for row in file.rows if row.threads is not None})
    return {"threads": ", ".join(map(str, found))} if found else {}


def _nothing(old: Results, new: Results) -> str:
    first, other = old.rows[0], new.rows[0]
    if matched(old.rows, new.rows, any_threads=True)[0]:
        why = f"{old.source} is of {first.threads} threads, {new.source} of {other.threads}: --across-machines compares them all the same"
    else:
        why = f"{old.source} has {first}, {new.source} has {other}: rows need the same model, engine, batch and threads"
    return f"there is nothing to compare: {why}"


def _row(old: Measured, new: Measured, threshold: float, max_drop: float) -> RowChange:
    both = [name for name in FIGURES if name in old.figures and name in new.figures]
    noise = {name: threshold for name in FIGURES} | {ACCURACY: max_drop}
    noise[LATENCY] = max(threshold, old.spread or 0.0, new.spread or 0.0)
    return RowChange(old, new, {name: _change(name, old.figures[name], new.figures[name], noise[name]) for name in both})


def _change(name: str, old: float, new: float, noise: float) -> Change:
    if name == ACCURACY:
        margin = noise + ROUNDING
        falls, rises = new < old - margin, new > old + margin
        return Change(old, new, noise, WORSE if falls else BETTER if rises else SAME)
    more, less = new > old * (1 + noise), old > new * (1 + noise)
    return Change(old, new, noise, WORSE if more else BETTER if less else SAME)
