"""What a suite of benchmarks is to the command line: its rows, what measures them, and the options and the table that it has."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from tenfold.support.errors import TenfoldError

Table = tuple[list[str], list[list[str]]]  # headings, rows


@dataclass(frozen=True)
class Case:
    """What one row measures.

    Attributes
    ----------
    name : str
        Unique in its suite.
    models : dict of str to callable
        Each gives, from a folder to write to, an ONNX file. The first is the subject of the row; one called ``dense`` is what a
        factored subject stands for.
    lists : tuple of str
        The lists that it is in, such as those of shapes.
    facts : dict
        Goes into the row as it is; ``promise``: how many times fewer multiplications than the dense model.
    one_image : callable or None
        Gives an ONNX file of the subject for one image. With it the row has every engine's error against float64, for the first image.
    """

    name: str
    models: dict[str, Callable[[Path], Path]] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    one_image: Callable[[Path], Path] | None = None


@dataclass(frozen=True)
class Settings:
    """What the command line says of the rows of a suite."""

    batches: tuple[int, ...]
    cache: Path
    data: Path | None = None


class Bench(Protocol):
    """What measures the rows of a suite, and what they have in common.

    Attributes
    ----------
    machine : dict
        What the results come from.
    threads : int
    engines : sequence of str
    """

    machine: dict[str, Any]
    threads: int
    engines: Sequence[str]

    def measure(self, case: Case) -> dict[str, Any]:
        """One row."""

    def brief(self, row: dict[str, Any]) -> str:
        """A row that was measured, in a few words."""


@dataclass(frozen=True)
class Suite:
    """A suite.

    Attributes
    ----------
    cases : callable
        Its rows.
    open : callable
        What measures them, for the options of the command line.
    table, caption : callable
        The results for the terminal, and a line below them.
    options : frozenset of str
        That it takes, beside those that every suite takes.
    batches : tuple of int
        Batch sizes where none are given.
    """

    cases: Callable[[Settings], list[Case]]
    open: Callable[[argparse.Namespace, Console], Bench]
    table: Callable[[dict[str, Any]], Table]
    caption: Callable[[dict[str, Any]], str]
    options: frozenset[str]
    batches: tuple[int, ...] = (1,)

    def check(self, options: argparse.Namespace, every: frozenset[str]) -> None:
        """Refuse options that the suite does not take, with a TenfoldError; `every` are those that all suites take."""
        given = [name for name, value in vars(options).items() if value not in (None, [])]
        unknown = [name for name in given if name not in every | self.options]
        if unknown:
            raise TenfoldError(f"--{unknown[0]} is no option of {options.suite}: leave it out")


def chosen_engines(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The rivals that were named; TenfoldError for one that the suite does not have."""
    for name in names:
        if name not in known:
            raise TenfoldError(f"--against {name}: no such engine here: choose from {', '.join(known)}")
    return list(names)
