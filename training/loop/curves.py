"""Learning curves: rows of numbers, as CSV and as a picture."""
from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...plots.canvas import panels, save
from ...support.errors import TenfoldError
from ...support.files.json_text import decode_text
from ...support.files.regular import read_regular
from ...support.files.whole import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Row:
    """One test of a network, and the training before it.

    Attributes
    ----------
    step : int
        Steps done.
    epoch : float
        Passes over the training images.
    rate : float
        The learning rate of the last step.
    train_loss, train_accuracy : float
        The mean over the steps since the row before, as the network was then, augmentation and dropout included.
    test_loss, test_accuracy : float
        Of all test images. An accuracy is a fraction of 1; NaN where outputs are no classes.
    seconds : float
        Since the start, tests and earlier runs included.
    """

    step: int
    epoch: float
    rate: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows, whole or not at all; every number can be read back exactly."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[Row]:
    """What `write_csv` wrote; TenfoldError if it is something else."""
    lines = csv.DictReader(io.StringIO(decode_text(read_regular(path), str(path))))
    try:
        return [Row(int(line["step"]), *(float(line[field.name]) for field in fields(Row)[1:])) for line in lines]
    except (KeyError, TypeError, ValueError):
        raise TenfoldError(f"{path}: not the learning curves of a run") from None


def draw(runs: Mapping[str, Sequence[Sequence[Row]]]) -> Figure:
    """Draw loss and accuracy over epochs, training dashed and test solid, as Jin et al. (2015), figure 3.

    Parameters
    ----------
    runs : mapping of str to sequences of rows
        By the name of a network, its runs: of several with different seeds the mean is drawn, and one standard deviation around it.
    """
    classified = any(not np.isnan(row.test_accuracy) for group in runs.values() for rows in group for row in rows)
    quantities = ("loss", "accuracy") if classified else ("loss",)
    figure, axes = panels(len(quantities))
    for panel, quantity in zip(axes, quantities, strict=True):
        for number, (name, group) in enumerate(runs.items()):
            count = min((len(rows) for rows in group), default=0)
            epochs = [row.epoch for row in group[0][:count]]
            for part, style in (("train", "--"), ("test", "-")):
                values = np.array([[getattr(row, f"{part}_{quantity}") for row in rows[:count]] for rows in group])
                mean, spread = values.mean(0), values.std(0)
                panel.plot(epochs, mean, style, color=f"C{number}", label=f"{name}, {part}", marker="." if count < 2 else None)
                if len(group) > 1:
                    panel.fill_between(epochs, mean - spread, mean + spread, color=f"C{number}", alpha=0.2, linewidth=0)
        panel.set(xlabel="epoch", ylabel=quantity)
        panel.legend(fontsize="small")
    return figure


def write_picture(rows: Sequence[Row], name: str, path: Path) -> None:
    """The picture of one run, if there is something to draw."""
    if rows:
        save(draw({name: [rows]}), [path])
