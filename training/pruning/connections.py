"""Single weights set to 0 by their magnitude, and kept there while training goes on: Çallı (2017), section 2.1.1."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from ...factorization import prune_connections as pruned_weight

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class _Mask(nn.Module):
    def __init__(self, mask: torch.Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights that are left."""
        return weight * self.mask


def prune_connections(network: nn.Module, deviations: float = 0.25) -> float:
    """Set the small weights of every layer to 0, in place; they stay 0 while it is trained, until `keep_connections`.

    Parameters
    ----------
    network : nn.Module
    deviations : float
        Of the threshold, which each layer has its own of: as of `factorization.prune_connections`.

    Returns
    -------
    float
        The part of the weights that is 0.
    """
    keep_connections(network)
    for module in network.modules():
        if isinstance(module, LAYERS):
            weight = module.weight.detach().float().cpu().numpy()
            mask = torch.from_numpy(pruned_weight(weight, deviations) != 0).to(module.weight)
            parametrize.register_parametrization(module, "weight", _Mask(mask))
    return share_of_zeros(network)


def keep_connections(network: nn.Module) -> None:
    """Let the weights be plain parameters again, those that are 0 among them: for export."""
    for module in network.modules():
        if isinstance(module, LAYERS) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def share_of_zeros(network: nn.Module) -> float:
    """The part of the weights of layers that is 0."""
    weights = [module.weight.detach() for module in network.modules() if isinstance(module, LAYERS)]
    return sum(int((weight == 0).sum()) for weight in weights) / max(sum(weight.numel() for weight in weights), 1)
