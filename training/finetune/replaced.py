"""A plan carried out on a torch module: its layers become chains that go on learning."""
from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ...factorization import Choice, FactorChain, Plan
from ...frontends import load
from ...support.errors import TenfoldError
from ..structures import from_chain, from_dense_chain
from .module_layers import ModuleLayers

LAYERS = ("Conv", "Gemm", "MatMul")


def factored(network: nn.Module, choices: Plan | Mapping[str, Choice], shape: tuple[int, ...]) -> nn.Module:
    """A copy of a network with some of its layers factored.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    choices : Plan, or mapping of str to Choice
        By the names of modules, such as ``features.0``; a plan may be one that `compress` made of this module. Factors are the nearest
        in the Frobenius norm, and not corrected, whatever the plan says: here training does what metrics and corrections are for.
    shape : tuple of int
        Of one input: (C, H, W), or (features,).

    Raises
    ------
    TenfoldError
        A name that is no layer, or a method or ranks that do not apply to it.
    """
    found = ModuleLayers(network, shape)
    wanted = by_module(network, choices, shape)
    plan = Plan("", "", {name: replace(choice, metric="frobenius") for name, choice in wanted.items()})
    chains = plan.chains(found.layers.values(), found.weights)
    result = copy.deepcopy(network)
    for name, chain in chains.items():
        put(result, name, _module(chain, result.get_submodule(name)))
    return result


def by_module(network: nn.Module, choices: Plan | Mapping[str, Choice], shape: tuple[int, ...]) -> dict[str, Choice]:
    """The choices by the names of modules.

    Parameters
    ----------
    network : nn.Module
    choices : Plan, or mapping of str to Choice
        A plan's names may be those that layers get on the way to ONNX, where names of modules only count: ``node_conv2d`` for ``0``.
    shape : tuple of int
        Of one input.
    """
    wanted = choices.layers if isinstance(choices, Plan) else choices
    modules = ModuleLayers(network, shape).layers
    if not isinstance(choices, Plan) or wanted.keys() <= modules.keys():
        return dict(wanted)
    graph = load(network, example_inputs=torch.zeros(1, *shape)).onnx.graph
    names = [(node.name, "conv2d" if node.op_type == "Conv" else "dense") for node in graph.node if node.op_type in LAYERS]
    if [kind for _, kind in names] != [layer.kind for layer in modules.values()]:
        raise TenfoldError("the plan names layers as ONNX has them, which are not those of the module one by one: name the modules in it")
    known = {name: module for (name, _), module in zip(names, modules, strict=True)}
    return {known.get(name, name): choice for name, choice in wanted.items()}


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Take a module of the network away, and put another in its place."""
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def _module(chain: FactorChain, layer: nn.Module) -> nn.Module:
    bias = layer.bias
    if isinstance(bias, torch.Tensor):
        chain = chain.with_bias(bias.detach().float().cpu().numpy())
    made = from_dense_chain(chain) if isinstance(layer, nn.Linear) else from_chain(chain)
    parameter = next(layer.parameters())
    return made.to(device=parameter.device, dtype=parameter.dtype).train(layer.training)
