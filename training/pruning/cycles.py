"""Train, prune, and again, until no node is found that could go: Çallı (2017), section 2.1.2 and figure 2.3."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..cost import cost
from ..data import Prepared
from ..loop import Objective, TrainingSettings, train
from ..loop.evaluation import evaluate, laid_out
from ..loop.progress import Display
from ..loop.randomness import generator
from .channels import Channels
from .criteria import Criterion
from .selection import vote
from .smaller import smaller
from .statistics import collect

BATCH = 250
IMAGES = 5000  # whose activations are looked at


@dataclass(frozen=True)
class Cycle:
    """One training, and what was pruned after it.

    Attributes
    ----------
    number : int
        From 1 on.
    widths : dict of str to int
        Nodes that each layer had while it was trained.
    parameters : int
        Of the network then.
    loss, accuracy : float
        Of the test, before pruning.
    pruned : int
        Nodes that went.
    """

    number: int
    widths: dict[str, int]
    parameters: int
    loss: float
    accuracy: float
    pruned: int


def training_cycles(
    network: nn.Module,
    data: Prepared,
    settings: TrainingSettings,
    criterion: Criterion,
    *,
    most: int = 20,
    distortion: float = 0.0,
    multiple: int = 1,
    objective: Objective | None = None,
    display: Display | None = None,
) -> tuple[nn.Module, list[Cycle]]:
    """Train, prune nodes, distort what is left, and begin again, until a training ends with no node to prune.

    Parameters
    ----------
    network : nn.Module
        Its weights are trained further; the one that is returned is another if nodes were pruned.
    data : Prepared
        To train with; the first images of the training part are those whose activations are looked at.
    settings : TrainingSettings
        Of each training.
    criterion : callable
        As of `criteria`.
    most : int
        Cycles, at most.
    distortion : float
        Random numbers with this deviation, times that of a layer's weights, are added to the weights between cycles.
    multiple : int
        As of `vote`.
    objective, display
        As of `loop.train`.

    Returns
    -------
    nn.Module, list of Cycle
        The network after the last training, and what happened.
    """
    done: list[Cycle] = []
    shape = data.shape
    for number in range(1, most + 1):
        train(network, data, replace(settings, seed=settings.seed + number - 1), objective=objective, display=display)
        loss, accuracy = evaluate(network, data, objective, settings.channels_last)
        channels = Channels(network, shape)
        statistics = collect(network, channels, _batches(data, settings.channels_last))
        going = vote(channels, statistics, criterion, multiple)
        widths = {use.name: len(use.outputs) for use in channels.uses if use.kind == "layer"}
        done.append(Cycle(number, widths, cost(network, shape).parameters, loss, accuracy, len(going)))
        if not going:
            break
        if number < most:
            network = smaller(network, channels, going)
            distort(network, distortion, generator(settings.seed, "distortion", number))
    return network, done


@torch.no_grad()
def distort(network: nn.Module, amount: float, chance: torch.Generator) -> None:
    """Add random numbers to the weights of layers, in place: normal, with `amount` times the deviation of each layer's weights."""
    if amount:
        for parameter in network.parameters():
            if parameter.ndim > 1:
                deviation = parameter.std(correction=0) or 1.0
                parameter += amount * deviation * torch.randn(parameter.shape, generator=chance).to(parameter)


def _batches(data: Prepared, channels_last: bool) -> Iterator[torch.Tensor]:
    images = data.train_x[:IMAGES]
    for start in range(0, len(images), BATCH):
        yield laid_out(data.seen(images[start : start + BATCH]), channels_last)
