"""Nodes pruned in training cycles: Çallı (2017), sections 2.1.3 and 3.1. A network that adds two numbers, and an autoencoder for MNIST.

Ours, where the thesis does not say it: the distribution of the numbers, how strong a distortion is, and that the learning rate falls within
a cycle, by 10 in its middle and again after three quarters of it.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ...support.files.json_text import read_json
from ...support.files.whole import write_text
from ..data import Prepared, prepare, read_images
from ..loop import Stairs, TrainingSettings, root_mean_square
from ..loop.progress import Silent
from ..loop.randomness import seed_of
from ..networks import autoencoder, export_onnx, summation
from ..networks.summation import summation_data
from ..pruning import Cycle, never_active, of_no_variance, outliers, training_cycles
from ..pruning.criteria import Criterion
from .asked import Asked, Table
from .pruning_picture import write_picture

PAIRS, TEST_PAIRS = 100_000, 1000
SUMMATION_STEPS, AUTOENCODER_STEPS = 150, 234
DISTORTION = 0.8
PATIENCE = 30  # cycles without a node to prune, where the next distortion may find some
MOST_CYCLES = 300
BASELINE = (4, 16, 4)  # figure 2.5b: each layer holds as many values as the image


@dataclass(frozen=True)
class Experiment:
    """One configuration.

    Attributes
    ----------
    name, title : str
        Of its files; in the table.
    paper : str
        Nodes of the layers that the thesis came to.
    criterion : Criterion
    distortion : float
    nodes : tuple of int
        Of an autoencoder; nothing: it is the network that adds.
    """

    name: str
    title: str
    paper: str
    criterion: Criterion
    distortion: float = 0.0
    nodes: tuple[int, int, int] | None = None


EXPERIMENTS = (
    Experiment("autoencoder", "autoencoder, variance by figure 3.1", "1-2-4-3-1", outliers(), 0.0, (32, 64, 32)),
    Experiment("autoencoder-baseline", "autoencoder that reduces nothing", "1-4-16-4-1", never_active(-1.0), 0.0, BASELINE),
    Experiment("sum-count", "summation, never active, distortions", "2-1-1", never_active(), DISTORTION),
    Experiment("sum-plain", "summation, never active, no distortions", "stops early", never_active()),
    Experiment("sum-variance", "summation, no variance, distortions", "2-1-1", of_no_variance(), DISTORTION),
)


def pruning_table(asked: Asked) -> dict[str, Any]:
    """Every experiment with every seed; one that is in the folder of runs is taken as it is.

    Returns
    -------
    dict
        For JSON: for each the nodes of the layers before and after, the cycles, and the loss of the first and the last.
    """
    folder = asked.runs / "pruning"
    folder.mkdir(parents=True, exist_ok=True)
    images = None
    rows = []
    for experiment in EXPERIMENTS:
        for seed in asked.seeds:
            path = folder / f"{experiment.name}-{seed}.json"
            if not path.exists():
                if experiment.nodes is not None and images is None:
                    found = read_images(asked.data / "mnist")
                    images = prepare(found if asked.images is None else found.first(asked.images, asked.images), "pixels")
                asked.say(f"{experiment.title}, seed {seed}")
                network, cycles = _run(experiment, seed, images, asked)
                if images is not None and experiment.nodes is not None:
                    export_onnx(network, images.shape, path.with_suffix(".onnx"))
                    write_picture(network, cycles, images.test_x[:10], path.with_suffix(".png"))
                kept = [{name: value for name, value in asdict(cycle).items() if name != "accuracy"} for cycle in cycles]
                write_text(path, json.dumps(kept, indent=1) + "\n")
            rows.append(_row(experiment, seed, read_json(path)))
    return {"table": "pruning", "source": "Çallı (2017), section 3.1", "rows": rows}


def _run(experiment: Experiment, seed: int, images: Prepared | None, asked: Asked) -> tuple[nn.Module, list[Cycle]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        network = summation() if experiment.nodes is None else autoencoder(experiment.nodes)
    if images is None or experiment.nodes is None:
        x, y = summation_data(PAIRS + TEST_PAIRS, seed)
        data = Prepared(x[:PAIRS], y[:PAIRS], x[PAIRS:], y[PAIRS:], 1)
        settings = _settings(SUMMATION_STEPS, 1000, seed)
    else:
        data = images
        batch = min(128, len(images.train_x))
        steps = AUTOENCODER_STEPS if asked.epochs is None else max(int(asked.epochs * len(images.train_x) / batch), 4)
        settings = _settings(steps, batch, seed, weight_decay=2 * 0.01, decay_all=False)
    return training_cycles(
        network, data, settings, experiment.criterion, most=MOST_CYCLES, patience=PATIENCE if experiment.distortion else 1,
        distortion=experiment.distortion, objective=root_mean_square(), display=Silent(),
    )  # fmt: skip


def _settings(steps: int, batch: int, seed: int, **options: Any) -> TrainingSettings:
    schedule = Stairs((0.01, 0.001, 0.0001), (steps // 2, 3 * steps // 4))
    # Distortions throw the network far from where it was, which is no divergence.
    return TrainingSettings(steps, batch, schedule, seed=seed, precision="float32", test_steps=steps, diverged=None, **options)


def _row(experiment: Experiment, seed: int, cycles: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = cycles[0], cycles[-1]
    facts = {"title": experiment.title, "name": experiment.name, "seed": seed, "paper": experiment.paper, "cycles": len(cycles)}
    source = 2 if experiment.nodes is None else 1
    before, after = ([source, *cycle["widths"].values()] for cycle in (first, last))
    parameters = {"parameters_before": first["parameters"], "parameters": last["parameters"]}
    return {**facts, "before": before, "after": after, **parameters, "loss_before": first["loss"], "loss": last["loss"]}


def show(content: Mapping[str, Any]) -> Table:
    """Of `pruning_table`."""
    rows = []
    for row in content["rows"]:
        before, after = ("-".join(map(str, row[name])) for name in ("before", "after"))
        rows.append([f"{row['title']}, seed {row['seed']}", before, row["paper"], after, str(row["cycles"]),
                     f"{row['parameters_before']:,}", f"{row['parameters']:,}", f"{row['loss_before']:.4f}", f"{row['loss']:.4f}"])
    headings = ["", "nodes", "the thesis", "here", "cycles", "parameters", "after", "loss of the first cycle", "of the last"]
    return headings, rows


def note(content: Mapping[str, Any]) -> str:
    """Of `pruning_table`."""
    return f"{content['source']}; loss: root mean square error on test data, of images from -1 to 1"
