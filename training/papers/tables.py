"""Rows of the papers' tables beside what runs here came to: accuracy, parameters, multiply-adds, milliseconds."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from ...support.errors import TenfoldError
from ..data import read_images
from ..recipes import recipe
from ..run import NETWORK, SUMMARY, read_summary, run_recipe

Measure = Callable[[Sequence[Path]], list[float]]  # ONNX files -> milliseconds of a run of each, measured in turns


@dataclass(frozen=True)
class PaperRow:
    """A network on a data set.

    Attributes
    ----------
    title : str
        As the paper calls it.
    network, data : str
        The recipe, and the folder of the images.
    accuracy, spread : float
        Percent of the test images, as the paper says; give or take so much, where it says so.
    """

    title: str
    network: str
    data: str
    accuracy: float
    spread: float | None = None


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes
    ----------
    source : str
    rows : tuple of PaperRow
        The first of a data set is the one that the others are held against.
    moves : bool
        A run that is shortened has its learning rates changed earlier in proportion; False: they stay where they are, and the run is cut.
    """

    source: str
    rows: tuple[PaperRow, ...]
    moves: bool


CALLI = {"convolution": "Convolution (baseline)", "kernel_composing": "Kernel composing convolution", "separable": "Separable convolution",
         "nonlinear_separable": "Separable convolution with non-linearity"}  # fmt: skip
CALLI_CIFAR = dict(zip(CALLI, (81.84, 81.98, 82.11, 82.16), strict=True))  # means of ten runs
CALLI_MNIST = 99.0, 0.3  # all of them, give or take

TABLES = {
    "jin": PaperTable(
        "Jin et al. (2015), table 2",
        (
            PaperRow("Baseline", "jin_baseline", "cifar10", 86.42),
            PaperRow("Flattened", "jin_flattened", "cifar10", 87.04),
            PaperRow("Baseline", "jin_baseline", "mnist", 99.62),
            PaperRow("Flattened", "jin_flattened", "mnist", 99.56),
        ),
        moves=False,
    ),
    "calli": PaperTable(
        "Çallı (2017), table 3.1 and section 3.2.1",
        (
            *(PaperRow(title, f"calli_{name}", "cifar10", CALLI_CIFAR[name]) for name, title in CALLI.items()),
            *(PaperRow(title, f"calli_{name}", "mnist", *CALLI_MNIST) for name, title in CALLI.items()),
        ),
        moves=True,
    ),
}


def filled(table: str, data: Path, runs: Path, epochs: float | None, measure: Measure | None) -> dict[str, Any]:
    """A table of a paper with our figures; networks that are not there yet are trained.

    Parameters
    ----------
    table : str
        A name in `TABLES`.
    data, runs : Path
        The folder of the data sets, and that of the runs: each has ``<data>-<network>``, as `run_recipe` writes it. A run that was
        finished is taken as it is.
    epochs : float, optional
        Of runs that are not there yet. Default: the recipe's.
    measure : callable, optional
        Times networks.

    Returns
    -------
    dict
        For JSON: the table's name and source, and for each row the paper's figures and ours.

    Raises
    ------
    TenfoldError
        An unknown table, or as of `run_recipe`.
    KeyboardInterrupt
        A run was asked to stop: it goes on when this is called again.
    """
    if table not in TABLES:
        raise TenfoldError(f"table {table!r}: there are {', '.join(TABLES)}")
    asked = TABLES[table]
    for row in asked.rows:
        if not (_folder(runs, row) / SUMMARY).exists():
            _train(row, data, runs, epochs, asked.moves)
    rows = [_row(row, read_summary(_folder(runs, row))) for row in asked.rows]
    times = [None] * len(rows) if measure is None else measure([_folder(runs, row) / NETWORK for row in asked.rows])
    return {"table": table, "source": asked.source, "rows": [{**row, "ms": ms} for row, ms in zip(rows, times, strict=True)]}


def _folder(runs: Path, row: PaperRow) -> Path:
    return runs / f"{row.data}-{row.network}"


def _train(row: PaperRow, data: Path, runs: Path, epochs: float | None, moves: bool) -> None:
    how = recipe(row.network)
    steps = None
    if epochs is not None:
        steps = min(ceil(epochs * (len(read_images(data / row.data).train_x) // how.settings.batch)), how.settings.steps)
    steps, cut = (steps, None) if moves else (None, steps)
    ended = run_recipe(row.network, data / row.data, _folder(runs, row), steps=steps, cut=cut)
    if ended.summary is None:
        raise KeyboardInterrupt


def _row(row: PaperRow, summary: dict[str, Any]) -> dict[str, Any]:
    ours = {name: summary[name] for name in ("parameters", "macs", "epoch", "step")}
    whole = recipe(row.network).settings.steps
    names = {"title": row.title, "network": row.network, "data": row.data}
    theirs = {"paper_accuracy": row.accuracy, "paper_spread": row.spread}
    return {**names, **theirs, "accuracy": 100 * summary["test_accuracy"], **ours, "recipe_steps": whole}
