"""What the nodes of a network do on images: how often each is active, and how much its output varies."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .channels import Channels


@dataclass(frozen=True)
class NodeStatistics:
    """Of the inputs of one layer, node by node.

    Attributes
    ----------
    nodes : ndarray of int, (N,)
        Each once.
    active : ndarray, (N,)
        How often, of 1, the value was above 0.
    mean, variance : ndarray, (N,)
        Over images and pixels.
    features : ndarray
        The mean of each input channel, or feature.
    votes : bool
        The layer sees what an activation gave: it has a say in what is pruned.
    """

    nodes: np.ndarray
    active: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    features: np.ndarray
    votes: bool


@torch.no_grad()
def collect(network: nn.Module, channels: Channels, batches: Iterable[torch.Tensor]) -> dict[str, NodeStatistics]:
    """Run images through the network, in evaluation mode.

    Parameters
    ----------
    network : nn.Module
        Left in the mode that it was in.
    channels : Channels
        Of this network.
    batches : iterable of Tensor
        As the network sees them.

    Returns
    -------
    dict of str to NodeStatistics
        By the names of the layers that read nodes.
    """
    sums: dict[str, np.ndarray] = {}

    def see(name: str, x: torch.Tensor) -> None:
        rows = x.detach().double().movedim(1, -1).flatten(0, -2)
        count = torch.full_like(rows[0], len(rows))
        found = torch.stack([count, (rows > 0).sum(0), rows.sum(0), rows.square().sum(0)])
        sums[name] = sums.get(name, 0) + found.cpu().numpy()

    readers = [use for use in channels.uses if use.kind in ("layer", "depthwise")]
    modules = dict(network.named_modules())
    handles = [
        modules[use.name].register_forward_pre_hook(lambda module, inputs, name=use.name: see(name, inputs[0])) for use in readers
    ]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        for batch in batches:
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return {use.name: _statistics(use.inputs, sums[use.name], use.first) for use in readers if use.name in sums}


def _statistics(inputs: np.ndarray, sums: np.ndarray, votes: bool) -> NodeStatistics:
    nodes, place = np.unique(inputs, return_inverse=True)
    count, active, total, squares = (np.bincount(place, values, len(nodes)) for values in sums)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    variance[variance < 1e-12 * np.maximum(squares / count, 1e-300)] = 0  # rounding: the value is always the same
    return NodeStatistics(nodes, active / count, mean, variance, sums[2] / sums[0], votes)
