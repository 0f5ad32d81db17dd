"""Networks without some of their nodes: masked, which is easy to trust, and physically smaller, which is the same and faster."""
from __future__ import annotations

import copy
from collections.abc import Mapping, Set

import numpy as np
import torch
from torch import nn

from ...support.errors import TenfoldError
from ..networks.identity import PaddedIdentity
from .channels import Channels, Use
from .statistics import NodeStatistics


def masked(network: nn.Module, channels: Channels, nodes: Set[int]) -> nn.Module:
    """A copy whose layers read 0 from these nodes.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of this network.
    nodes : set of int
        None of `Channels.kept`.
    """
    _check(channels, nodes)
    result = copy.deepcopy(network)
    for use in channels.uses:
        if use.kind == "layer":
            keep = torch.from_numpy(~np.isin(use.inputs, list(nodes)))

            def mask(module: nn.Module, inputs: tuple[torch.Tensor, ...], keep: torch.Tensor = keep) -> torch.Tensor:
                x = inputs[0]
                return x * keep.to(x).reshape(1, -1, *[1] * (x.ndim - 2))

            result.get_submodule(use.name).register_forward_pre_hook(mask)
    return result


def smaller(
    network: nn.Module, channels: Channels, nodes: Set[int], statistics: Mapping[str, NodeStatistics] | None = None
) -> nn.Module:
    """A copy without these nodes: it computes what `masked` does.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of this network.
    nodes : set of int
        None of `Channels.kept`, and not all that a layer reads.
    statistics : mapping of str to NodeStatistics, optional
        With them, layers that read a node get its mean, times their weights, into their biases: so it stands for a constant, not for 0.

    Raises
    ------
    TenfoldError
        A node that has to stay, or a layer that would have nothing to read.
    """
    _check(channels, nodes)
    result = copy.deepcopy(network)
    for use in channels.uses:
        module = result.get_submodule(use.name)
        inputs, outputs = (np.flatnonzero(~np.isin(ids, list(nodes))) for ids in (use.inputs, use.outputs))
        if use.kind == "layer":
            if not len(inputs):
                raise TenfoldError(f"layer {use.name!r} would have no inputs left")
            if statistics is not None and use.name in statistics:
                _correct(module, statistics[use.name].features, np.isin(use.inputs, list(nodes)))
        with torch.no_grad():
            _KINDS[use.kind](module, use, inputs, outputs)
    return result


def _check(channels: Channels, nodes: Set[int]) -> None:
    fixed = nodes & channels.kept
    if fixed:
        raise TenfoldError(f"node {min(fixed)} can't be pruned: it belongs to the network's input or output, or something unknown reads it")


def _correct(module: nn.Module, means: np.ndarray, gone: np.ndarray) -> None:
    """The bias takes over what the nodes that go give on average: right away from the border, where zeros are padded."""
    weight = module.weight.detach()
    assert isinstance(weight, torch.Tensor)
    summed = weight.flatten(2).sum(2) if weight.ndim == 4 else weight
    if isinstance(module, nn.ConvTranspose2d):
        summed = summed.T / (module.stride[0] * module.stride[1])  # so small a part of its taps, on average, meets at a pixel
    change = summed[:, gone] @ torch.from_numpy(means[gone]).to(summed)
    module.bias = nn.Parameter(change if module.bias is None else module.bias.detach() + change)


def _layer(module: nn.Module, use: Use, inputs: np.ndarray, outputs: np.ndarray) -> None:
    first, second = (inputs, outputs) if isinstance(module, nn.ConvTranspose2d) else (outputs, inputs)
    module.weight = nn.Parameter(module.weight[first][:, second].clone(), module.weight.requires_grad)
    _cut(module, "bias", outputs)
    if isinstance(module, nn.Linear):
        module.in_features, module.out_features = len(inputs), len(outputs)
    else:
        module.in_channels, module.out_channels = len(inputs), len(outputs)


def _depthwise(module: nn.Module, use: Use, inputs: np.ndarray, outputs: np.ndarray) -> None:
    _cut(module, "weight", outputs)
    _cut(module, "bias", outputs)
    module.in_channels = module.groups = len(inputs)
    module.out_channels = len(outputs)


def _norm(module: nn.Module, use: Use, inputs: np.ndarray, outputs: np.ndarray) -> None:
    for name in ("weight", "bias"):
        _cut(module, name, inputs)
    for name in ("running_mean", "running_var"):
        value = getattr(module, name)
        if value is not None:
            setattr(module, name, value[inputs].clone())
    module.num_features = len(inputs)


def _identity(module: nn.Module, use: Use, inputs: np.ndarray, outputs: np.ndarray) -> None:
    assert isinstance(module, PaddedIdentity)
    module.before, module.behind = int((outputs < module.before).sum()), int((outputs >= module.before).sum())


def _cut(module: nn.Module, name: str, kept: np.ndarray) -> None:
    value = getattr(module, name)
    if value is not None:
        setattr(module, name, nn.Parameter(value[kept].clone(), value.requires_grad))


_KINDS = {"layer": _layer, "depthwise": _depthwise, "norm": _norm, "identity": _identity}
