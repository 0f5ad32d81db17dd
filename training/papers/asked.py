"""What a table of the papers is asked for, and what fills it."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...factorization import Plan
from ...support.progress import Progress

Measure = Callable[[Sequence[Path]], list[float]]  # ONNX files -> milliseconds of one image in each, measured in turns
Table = tuple[list[str], list[list[str]]]  # headings, rows


Arrays = tuple[np.ndarray, np.ndarray]  # images as a network takes them, labels


class Compress(Protocol):
    """`tenfold.compress`, which stands above this room."""

    def __call__(
        self, model: Path, output: Path, how: Plan | float, data: Arrays, learn: Arrays | None, epochs: int = 1, cascade: bool = False
    ) -> dict[str, Any]:
        """Compress a network, and say what `report.json` does.

        Parameters
        ----------
        model, output : Path
            The ONNX file; the folder of what comes of it.
        how : Plan or float
            What is done; or the points of accuracy that a search may lose.
        data : arrays
            To calibrate with, and to verify on.
        learn : arrays or None
            To fine-tune with; None: it is not.
        epochs : int
            Of that.
        cascade : bool
            Layer by layer, those above, and on the images as they are; else all weights, on images that are flipped and shifted.
        """


@dataclass(frozen=True)
class Asked:
    """The options of the command.

    Attributes
    ----------
    data, runs : Path
        The folder of the data sets, and that of the runs.
    say : callable
        Told what is being done.
    epochs : float or None
        Of what is not trained yet. None: the recipe's.
    one_cycle : bool
        The learning rate of shortened runs rises and falls once.
    images : int or None
        How many are used, where not all need be: a quick try.
    seeds : tuple of int
        Of the runs that are drawn together.
    measure : callable or None
        Times networks; None: nothing is timed.
    compress : callable or None
        `tenfold.compress`, for tables of compressed networks.
    """

    data: Path
    runs: Path
    say: Progress
    epochs: float | None = None
    one_cycle: bool = False
    images: int | None = None
    seeds: tuple[int, ...] = (0,)
    measure: Measure | None = None
    compress: Compress | None = None


@dataclass(frozen=True)
class Reproduction:
    """A table or a figure of a paper.

    Attributes
    ----------
    about : str
        Where it is from, and what it shows.
    fill : callable
        What is asked -> the content, for JSON. KeyboardInterrupt where it was stopped.
    show : callable
        The content -> headings and rows.
    note : callable
        The content -> a line below them.
    """

    about: str
    fill: Callable[[Asked], dict[str, Any]]
    show: Callable[[Mapping[str, Any]], Table]
    note: Callable[[Mapping[str, Any]], str]


def short(count: float) -> str:
    """1,234,567 -> ``1.2 M``."""
    return f"{count / 1e6:.1f} M"
