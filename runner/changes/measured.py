"""What a file of results holds, whatever wrote it: rows of figures, and the machine that they come from."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

# What figures are called, in the order of tables. More of any is worse, but of accuracy.
LATENCY, BYTES, MEMORY, ACCURACY, MACS = "latency_ms", "bytes", "memory", "accuracy", "macs"
FIGURES = (LATENCY, BYTES, MEMORY, ACCURACY, MACS)


@dataclass(frozen=True)
class Measured:
    """One network in one engine.

    Attributes
    ----------
    model, engine : str
    batch, threads : int or None
        None where the file does not tell.
    figures : dict of str to float
        Of `FIGURES`, those that the file has.
    spread : float or None
        How far the medians of rounds lie apart, over their median; None where the file does not tell.
    """

    model: str
    engine: str
    batch: int | None
    threads: int | None
    figures: dict[str, float]
    spread: float | None = None

    @property
    def name(self) -> str:
        """The last part of the model's path."""
        return PurePath(self.model).name or self.model

    def __str__(self) -> str:
        """Name it in a sentence."""
        more = [f"{word} {count}" for word, count in (("batch", self.batch), ("threads", self.threads)) if count is not None]
        return f"{self.model} in {self.engine}" + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True)
class Results:
    """A file of results.

    Attributes
    ----------
    source : str
        What errors call it.
    kind : str
        What wrote it: ``bench``, ``compile``, ``compress`` or the name of a suite of benchmarks.
    machine : dict
        What must be the same for times to be comparable: the CPU, its cores, vectors and caches, the GPU; of what was compiled its target.
    versions : dict
        Of software, by name.
    rows : list of Measured
    notes : list of str
        What speaks against the figures.
    """

    source: str
    kind: str
    machine: dict[str, Any]
    versions: dict[str, str]
    rows: list[Measured]
    notes: list[str] = field(default_factory=list)


def matched(
    old: list[Measured], new: list[Measured], any_threads: bool
) -> tuple[list[tuple[Measured, Measured]], list[Measured], list[Measured]]:
    """Rows of the same model, engine, batch and threads, and those that have no match, of either side.

    What a file does not tell fits anything. Models are looked for by their path, then, as folders of results often have other names in the
    next run, by its last part.

    Parameters
    ----------
    old, new : list of Measured
    any_threads : bool
        Rows may differ in their threads.
    """
    pairs: dict[int, tuple[Measured, Measured]] = {}
    left = list(enumerate(old)), list(enumerate(new))
    for by in ("model", "name"):
        for number, row in list(left[0]):
            for there, other in left[1]:
                if getattr(row, by) == getattr(other, by) and _fit(row, other, any_threads):
                    pairs[number] = row, other
                    left[0].remove((number, row))
                    left[1].remove((there, other))
                    break
    return [pairs[number] for number in sorted(pairs)], [row for _, row in left[0]], [row for _, row in left[1]]


def _fit(one: Measured, other: Measured, any_threads: bool) -> bool:
    return one.engine == other.engine and _same(one.batch, other.batch) and (any_threads or _same(one.threads, other.threads))


def _same(one: Any, other: Any) -> bool:
    return one is None or other is None or one == other


def differing(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Where two descriptions contradict each other, such as ``cpu: A, now B``."""
    for name in dict.fromkeys([*old, *new]):
        if not _same(old.get(name), new.get(name)):
            yield f"{name}: {_words(old[name])}, now {_words(new[name])}"


def _words(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)
