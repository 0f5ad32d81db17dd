"""What a torch module costs: its parameters, and its multiply-adds for one input."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .probe import Hook, run_on_zeros

COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class Cost:
    """Of a network.

    Attributes
    ----------
    parameters : int
        All that training moves.
    weights : int
        Of convolutions and dense layers, without biases, as the papers' tables count.
    macs : int
        Multiply-adds of convolutions and dense layers, for one input; those with padding count.
    layers : dict of str to int
        The multiply-adds of each layer, in the order in which they ran.
    """

    parameters: int
    weights: int
    macs: int
    layers: dict[str, int]


def cost(network: nn.Module, shape: tuple[int, ...]) -> Cost:
    """Count.

    Parameters
    ----------
    network : nn.Module
        Run once on zeros, in evaluation mode, and left in the mode that it was in.
    shape : tuple of int
        Of one input: (C, H, W), or (features,).
    """
    macs: dict[str, int] = {}

    def counted(name: str) -> Hook:
        def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            pixels = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
            positions = pixels[0, 0].numel() if pixels.ndim == 4 else pixels[0].numel() // pixels.shape[-1]
            macs[name] = macs.get(name, 0) + layer.weight.numel() * positions

        return count

    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, COUNTED)]
    run_on_zeros(network, shape, [(layer, counted(name)) for name, layer in found])
    return Cost(
        sum(parameter.numel() for parameter in network.parameters()),
        sum(layer.weight.numel() for _, layer in found),
        sum(macs.values()),
        macs,
    )
