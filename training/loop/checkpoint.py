"""All that a run needs to go on, in one file: weights, momentum, averages, the number of the step, rows of the learning curves.

It is written whole or not at all, and holds tensors, numbers and texts alone (``weights_only=True`` reads it). Random numbers, the order
of the images and the learning rate have no state: they follow from the seed and the step (`randomness`, `schedules`).
"""
from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from ...support.errors import TenfoldError
from ...support.files.whole import whole_file
from .curves import Row

VERSION = 1


@dataclass
class Checkpoint:
    """A run between two steps.

    Attributes
    ----------
    step : int
        Steps done.
    settings : str
        `TrainingSettings.as_json`.
    facts : dict
        Of the network, the data and the processes; they must be the same when it goes on.
    precision : str
        In which it computes.
    network, optimizer : dict
        As torch's state_dict.
    average : dict or None
        Of the averaged network.
    rows : list of Row
        The learning curves.
    sums : dict
        Of losses since the last row, and of the watch for divergence.
    seconds : float
        So far.
    """

    step: int
    settings: str
    facts: dict[str, Any]
    precision: str
    network: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None
    rows: list[Row]
    sums: dict[str, dict[str, float]]
    seconds: float

    def write(self, path: Path) -> None:
        """Take the place of an earlier checkpoint."""
        content = {**vars(self), "rows": [list(astuple(row)) for row in self.rows], "version": VERSION}
        with whole_file(path) as temporary:
            torch.save(content, temporary)


def read_checkpoint(path: Path, settings: str, facts: dict[str, Any], device: torch.device) -> Checkpoint:
    """Read the checkpoint of a run with the same settings.

    Parameters
    ----------
    path : Path
        What `Checkpoint.write` wrote.
    settings, facts
        Of the run that is to go on.
    device : torch.device
        Where the tensors go.

    Raises
    ------
    TenfoldError
        It is none, or that of another run: the message says what differs.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        version = content.pop("version")
        found = Checkpoint(**{**content, "rows": [Row(*values) for values in content["rows"]]}) if version == VERSION else None
    except Exception as error:  # of torch, pickle and zipfile, which raise a dozen kinds
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TenfoldError(f"{path}: not a checkpoint of training, or cut short ({line[:80]}): remove it to begin anew") from None
    if found is None:
        raise TenfoldError(f"{path}: a checkpoint of version {version}, this program reads version {VERSION}: remove it to begin anew")
    for before, now in ((json.loads(found.settings), json.loads(settings)), (found.facts, facts)):
        for name in [*now, *(before.keys() - now.keys())]:
            if before.get(name) != now.get(name):
                was, is_now = before.get(name), now.get(name)
                raise TenfoldError(f"{path}: of a run with {name} {was}, not {is_now}: use the same, another folder, or remove it")
    return found
