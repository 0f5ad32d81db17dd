"""Layers that stay as they are: Denton et al. (2014), section 3.5, fix the approximated layer and all below it."""
from __future__ import annotations

from torch import nn

from ...support.errors import TenfoldError
from .module_layers import ModuleLayers


def freeze_through(network: nn.Module, name: str, shape: tuple[int, ...]) -> list[nn.Module]:
    """Freeze a layer, or the chain in its place, and all that runs before it.

    Parameters
    ----------
    network : nn.Module
        Its parameters up to there no longer require gradients; those behind do.
    name : str
        Of a module within it.
    shape : tuple of int
        Of one input: (C, H, W), or (features,).

    Returns
    -------
    list of nn.Module
        What is frozen: `loop.train` takes it as `frozen`, so that batch norms among it keep their statistics.

    Raises
    ------
    TenfoldError
        No module of that name has parameters, or nothing would be left to train.
    """
    executed = ModuleLayers(network, shape).executed
    places = [number for number, (own, _) in enumerate(executed) if own == name or own.startswith(f"{name}.")]
    if not places:
        raise TenfoldError(f"module {name!r}: the network runs no module of that name that has parameters")
    if places[-1] == len(executed) - 1:
        raise TenfoldError(f"module {name!r}: it is the network's last, and nothing would be left to train behind it")
    for number, (_, module) in enumerate(executed):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(number > places[-1])
    return [module for _, module in executed[: places[-1] + 1]]


def thaw(network: nn.Module) -> None:
    """All parameters require gradients again."""
    for parameter in network.parameters():
        parameter.requires_grad_(True)
