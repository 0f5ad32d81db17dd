"""One run of a torch module on zeros, to see its layers at work."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], Any]


def run_on_zeros(network: nn.Module, shape: tuple[int, ...], hooks: Iterable[tuple[nn.Module, Hook]]) -> None:
    """Run a network once in evaluation mode, and leave it in the modes that it was in.

    Parameters
    ----------
    network : nn.Module
        With parameters: the zeros are of their dtype, on their device.
    shape : tuple of int
        Of one input, without the batch.
    hooks : iterable of (nn.Module, callable)
        Called behind these modules with the module, its inputs and its output.
    """
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    parameter = next(network.parameters())
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
