"""A recipe carried out: images from a folder, a network trained on them, and what came of it in the folder of the run."""
from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from ..support.errors import TenfoldError
from ..support.files.json_text import read_json
from ..support.files.whole import write_text
from .cost import cost
from .data import prepare, read_images
from .loop import Output, train
from .loop.distributed import joined
from .networks import export_onnx
from .recipes import recipe

SUMMARY, NETWORK, CURVES = "summary.json", "network.onnx", "curves.csv"


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes
    ----------
    summary : dict or None
        What ``summary.json`` says; None: it was stopped, and goes on when it is called again, or this process does not lead its group.
    step, steps : int
        Done, and in all.
    leads : bool
        False: another process of the group writes and tells.
    """

    summary: dict[str, Any] | None
    step: int
    steps: int
    leads: bool


def run_recipe(
    name: str,
    data: Path,
    output: Path,
    *,
    steps: int | None = None,
    cut: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    first: int | None = None,
    one_cycle: bool = False,
) -> Ended:
    """Train a network of `RECIPES`, or go on with a run, and write ``network.onnx`` and ``summary.json``.

    Parameters
    ----------
    name : str
        Of the recipe.
    data, output : Path
        The folder of the images, as their authors publish them; the folder of the run.
    steps, cut, seed, precision, one_cycle : optional
        As of `Recipe.settings_for`.
    first : int, optional
        Use so many images of each part alone.

    Raises
    ------
    TenfoldError
        An unknown recipe, files that are not what they should be, or as of `loop.train`.
    """
    how = recipe(name)
    settings = how.settings_for(steps, seed, precision, cut, one_cycle)
    output.mkdir(parents=True, exist_ok=True)
    with joined() as group:
        images = read_images(data)
        images = images if first is None else images.first(first, first)
        with group.leader_first():  # it fits a whitening, if one is needed; the others read it
            ready = prepare(how.seen(images), how.pipeline_for(images), output)
        network = how.network(ready, settings.seed)
        outcome = train(network, ready, settings, Output(output), objective=how.objective())
        if not group.leads or not outcome.finished:
            return Ended(None, outcome.step, settings.steps, group.leads)
        export_onnx(network, ready.shape, output / NETWORK)
        costs = cost(network, ready.shape)
        last = {key: value if isfinite(value) else None for key, value in vars(outcome.rows[-1]).items()}
        result = {**last, "parameters": costs.parameters, "macs": costs.macs}
        trained = {"network": name, "about": how.about, "data": images.name, "settings": json.loads(settings.as_json())}
        machine = {"device": str(group.device), "threads": torch.get_num_threads(), "processes": group.size, "torch": torch.__version__}
        summary = {**trained, "precision": outcome.precision, **machine, **result}
        write_text(output / SUMMARY, json.dumps(summary, indent=1) + "\n")
        return Ended(summary, outcome.step, settings.steps, True)


def read_summary(folder: Path) -> dict[str, Any]:
    """What ``summary.json`` of a run says; TenfoldError if there is none, or it is something else."""
    found = read_json(folder / SUMMARY)
    if not isinstance(found, dict) or not {"network", "data", "settings", "parameters", "macs", "test_accuracy"} <= found.keys():
        raise TenfoldError(f"{folder / SUMMARY}: not the summary of a run: train it with examples/train.py")
    return found
