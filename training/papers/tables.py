"""Rows of the papers' tables beside what runs here came to: accuracy, parameters, multiply-adds, milliseconds."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from ..data import read_images
from ..recipes import recipe
from ..run import NETWORK, SUMMARY, read_summary, run_recipe
from .asked import Asked, Table, short


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


def filled(name: str, asked: Asked) -> dict[str, Any]:
    """A table of a paper with our figures; networks that are not there yet are trained.

    Parameters
    ----------
    name : str
        In `TABLES`.
    asked : Asked
        `runs` has ``<data>-<network>`` for each, as `run_recipe` writes it. A run that was finished is taken as it is.

    Returns
    -------
    dict
        For JSON: the table's name and source, and for each row the paper's figures and ours.

    Raises
    ------
    TenfoldError
        As of `run_recipe`.
    KeyboardInterrupt
        A run was asked to stop: it goes on when this is called again.
    """
    table = TABLES[name]
    folders = [trained(row.network, row.data, asked, moves=table.moves) for row in table.rows]
    rows = [_row(row, read_summary(folder)) for row, folder in zip(table.rows, folders, strict=True)]
    times = [None] * len(rows) if asked.measure is None else asked.measure([folder / NETWORK for folder in folders])
    return {"table": name, "source": table.source, "rows": [{**row, "ms": ms} for row, ms in zip(rows, times, strict=True)]}


def trained(network: str, data: str, asked: Asked, *, seed: int = 0, moves: bool = True) -> Path:
    """The folder of a run, which is carried out if it is not there.

    Parameters
    ----------
    network, data : str
        The recipe, and the folder of the images within that of the data sets.
    asked : Asked
    seed : int
    moves : bool
        As of `PaperTable`.
    """
    folder = asked.runs / (f"{data}-{network}" if seed == 0 else f"{data}-{network}-seed{seed}")
    if not (folder / SUMMARY).exists():
        how = recipe(network)
        steps: int | None = None
        cut: int | None = None
        if asked.epochs is not None:
            settings = how.settings_for(one_cycle=asked.one_cycle)
            count = ceil(asked.epochs * (len(read_images(asked.data / data).train_x) // settings.batch))
            if moves or asked.one_cycle:
                steps = count
            else:
                cut = min(count, settings.steps)
        ended = run_recipe(network, asked.data / data, folder, steps=steps, cut=cut, seed=seed, one_cycle=asked.one_cycle)
        if ended.summary is None:
            raise KeyboardInterrupt
    return folder


def _row(row: PaperRow, summary: dict[str, Any]) -> dict[str, Any]:
    ours = {name: summary[name] for name in ("parameters", "macs", "epoch")}
    settings = recipe(row.network).settings
    whole = settings.steps * settings.batch / (summary["step"] * summary["settings"]["batch"]) * summary["epoch"]
    names = {"title": row.title, "network": row.network, "data": row.data}
    theirs = {"paper_accuracy": row.accuracy, "paper_spread": row.spread}
    cycle = summary["settings"]["schedule"] != repr(settings.schedule) and summary["settings"]["schedule"].startswith("OneCycle")
    return {**names, **theirs, "accuracy": 100 * summary["test_accuracy"], **ours, "recipe_epochs": whole, "one_cycle": cycle}


SETS = {"cifar10": "CIFAR-10", "mnist": "MNIST"}


def show(content: Mapping[str, Any]) -> Table:
    """Of `filled`."""
    rows = []
    for row in content["rows"]:
        epochs = f"{row['epoch']:.0f}" if row["epoch"] > row["recipe_epochs"] - 0.5 else f"{row['epoch']:.0f} of {row['recipe_epochs']:.0f}"
        spread = row["paper_spread"]
        paper = f"{row['paper_accuracy']:.2f} %" if spread is None else f"{row['paper_accuracy']:g} +- {spread:g} %"
        rows.append([f"{SETS[row['data']]}: {row['title']}", paper, f"{row['accuracy']:.2f} %", epochs + ", one cycle" * row["one_cycle"],
                     f"{row['parameters']:,}", short(row["macs"]), "-" if row["ms"] is None else f"{row['ms']:.3f}"])
    return ["", "the paper", "here", "epochs here", "parameters", "MACs", "ms"], rows


def note(content: Mapping[str, Any]) -> str:
    """Of `filled`."""
    return f"{content['source']}; one run each; times of one image in Tenfold"
