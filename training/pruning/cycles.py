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
    patience: int = 1,
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
    patience : int
        It ends after so many cycles in a row without a node to prune: with distortions the next one may find some. It ends at once where
        no layer could lose a node.
    distortion : float
        As of `distort`, between cycles.
    multiple : int
        As of `vote`.
    objective, display
        As of `loop.train`.

    Returns
    -------
    nn.Module, list of Cycle
        The network after the last training, and what happened.

    Raises
    ------
    KeyboardInterrupt
        It was asked to stop.
    """
    done: list[Cycle] = []
    shape, idle = data.shape, 0
    for number in range(1, most + 1):
        once = replace(settings, seed=settings.seed + number - 1)
        if not train(network, data, once, objective=objective, display=display).finished:
            raise KeyboardInterrupt
        loss, accuracy = evaluate(network, data, objective, settings.channels_last)
        channels = Channels(network, shape)
        statistics = collect(network, channels, _batches(data, settings.channels_last))
        going = vote(channels, statistics, criterion, multiple)
        widths = {use.name: len(use.outputs) for use in channels.uses if use.kind == "layer"}
        done.append(Cycle(number, widths, cost(network, shape).parameters, loss, accuracy, len(going)))
        idle = 0 if going else idle + 1
        if idle >= patience or not any(len(space) > 1 for space in channels.spaces):
            break
        if number < most:
            network = smaller(network, channels, going) if going else network
            distort(network, distortion, generator(settings.seed, "distortion", number))
    return network, done


@torch.no_grad()
def distort(network: nn.Module, amount: float, chance: torch.Generator) -> None:
    """Mix random numbers into the weights of layers, in place: w -> (w + amount r n) / sqrt(1 + amount^2), n normal of deviation 1.

    Here r is the root mean square of the layer's weights, so that these keep their size from cycle to cycle.

    Parameters
    ----------
    network : nn.Module
    amount : float
        0: nothing is done. 1: as much is random as is left of the weights.
    chance : torch.Generator
    """
    if amount:
        for parameter in network.parameters():
            if parameter.ndim > 1:
                size = parameter.square().mean().sqrt()
                parameter += amount * size * torch.randn(parameter.shape, generator=chance).to(parameter)
                parameter /= (1 + amount**2) ** 0.5


def _batches(data: Prepared, channels_last: bool) -> Iterator[torch.Tensor]:
    images = data.train_x[:IMAGES]
    for start in range(0, len(images), BATCH):
        yield laid_out(data.seen(images[start : start + BATCH]), channels_last)
