"""Which channels of a network are one node, and can only go together.

    y = conv(x)                makes new nodes, and reads those of x
    norm, ReLU, pooling        pass nodes on
    depthwise convolution      passes nodes on: its outputs follow its inputs
    a + b                      makes the nodes of a and b one, pair by pair
    flatten                    makes each node as many features as the image has pixels

So nodes of residual blocks that are connected directly go together, as in Çallı (2017), section 2.4.2. Nodes that something reads which is
not known here, those of the network's input, and those of its output stay.
"""
from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ...support.errors import TenfoldError
from ..networks.identity import PaddedIdentity

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
PASSING = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d),
)
PASSING_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.silu, F.gelu, F.sigmoid, F.tanh, F.hardtanh, F.hardswish, F.hardsigmoid, F.dropout),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.relu, torch.sigmoid, torch.tanh),
)
PASSING_METHODS = ("relu", "relu_", "sigmoid", "tanh", "contiguous", "clamp")
ADDING = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class Use:
    """What a module has to do with nodes.

    Attributes
    ----------
    name : str
        Of the module.
    kind : str
        ``layer`` (reads `inputs`, makes `outputs`), ``depthwise``, ``norm``, or ``identity`` (`outputs` are its zeros before, then behind).
    inputs, outputs : ndarray of int
        A node for each channel, or feature.
    first : bool
        No depthwise convolution passed its inputs on before: it sees what an activation gave.
    """

    name: str
    kind: str
    inputs: np.ndarray
    outputs: np.ndarray
    first: bool = True


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PaddedIdentity) or super().is_leaf_module(m, module_qualified_name)


class Channels:
    """The nodes of a network.

    Parameters
    ----------
    network : nn.Module
        One that torch.fx can trace, of one input. Its weights may change later, its layers not.
    shape : tuple of int
        Of one input: (C, H, W), or (features,).

    Attributes
    ----------
    uses : list of Use
        In the order in which modules run. Nodes in it are numbers that stand for themselves: `node` has been applied.
    kept : set of int
        Nodes that can't be pruned.

    Raises
    ------
    TenfoldError
        The network can't be traced, or a layer runs twice.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]):
        self._parent: list[int] = []
        self._stays: list[int] = []
        self._uses: list[Use] = []
        self._modules = dict(network.named_modules())
        try:
            graph = _Tracer().trace(network)
            module = fx.GraphModule(network, graph)
            parameter = next(network.parameters())
            modes = [(part, part.training) for part in network.modules()]
            try:
                module.eval()
                with torch.no_grad():
                    ShapeProp(module).propagate(torch.zeros(2, *shape, device=parameter.device, dtype=parameter.dtype))
            finally:
                for part, training in modes:
                    part.training = training
        except Exception as error:  # of the tracer, which raises a dozen kinds
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TenfoldError(f"{type(network).__name__}: its nodes can't be found: torch.fx can't trace it: {line[:100]}") from None
        self._ids: dict[fx.Node, np.ndarray] = {}
        self._passed: dict[fx.Node, bool] = {}  # by a depthwise convolution
        for node in graph.nodes:
            self._visit(node)
        names = [use.name for use in self._uses]
        for name in names:
            if names.count(name) > 1:
                raise TenfoldError(f"layer {name!r} runs more than once: its nodes can't be pruned")
        self.uses = [Use(use.name, use.kind, self._roots(use.inputs), self._roots(use.outputs), use.first) for use in self._uses]
        self.kept = {self._root(number) for number in self._stays}

    @property
    def spaces(self) -> list[list[int]]:
        """Nodes that can be pruned, in groups: of one layer, or of several whose outputs are added up."""
        groups: list[set[int]] = []
        for use in self.uses:
            if use.kind == "layer":
                own = {*use.outputs.tolist()}
                joined = [group for group in groups if group & own]
                groups = [group for group in groups if not group & own] + [own.union(*joined)]
        return [sorted(group - self.kept) for group in groups if group - self.kept]

    def _visit(self, node: fx.Node) -> None:
        source = next(iter(node.all_input_nodes), None)
        passed = source is not None and self._passed[source]
        if node.op == "output":
            for argument in node.all_input_nodes:
                self._stays += self._ids[argument].tolist()
            return
        ids: np.ndarray | None = None
        if source is not None and node.op == "call_module":
            ids, passed = self._module(str(node.target), self._ids[source], node, passed)
        elif source is not None:
            ids = self._function(node, source)
        if ids is None:
            for argument in node.all_input_nodes:
                self._stays += self._ids[argument].tolist()
            ids, passed = self._fresh(_channels(node)), False
            self._stays += ids.tolist()
        self._ids[node], self._passed[node] = ids, passed

    def _module(self, name: str, ids: np.ndarray, node: fx.Node, passed: bool) -> tuple[np.ndarray | None, bool]:
        """The nodes that a module gives, None for one that is not known, and whether a depthwise convolution passed them on."""
        module = self._modules[name]
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.groups == 1:
            return self._layer(name, ids, module.out_channels, passed), False
        if isinstance(module, nn.Linear) and len(ids) == module.in_features:
            return self._layer(name, ids, module.out_features, passed), False
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels:
            outputs = np.repeat(ids, module.out_channels // module.in_channels)
            self._uses.append(Use(name, "depthwise", ids, outputs, not passed))
            return outputs, True
        if isinstance(module, NORMS):
            self._uses.append(Use(name, "norm", ids, ids))
            return ids, passed
        if isinstance(module, PaddedIdentity):
            zeros = self._fresh(module.before + module.behind)
            self._uses.append(Use(name, "identity", ids, zeros))
            return np.concatenate([zeros[: module.before], ids, zeros[module.before :]]), passed
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            return _flattened(ids, node), passed
        return (ids, passed) if isinstance(module, PASSING) else (None, False)

    def _layer(self, name: str, ids: np.ndarray, outputs: int, passed: bool) -> np.ndarray:
        made = self._fresh(outputs)
        self._uses.append(Use(name, "layer", ids, made, not passed))
        return made

    def _function(self, node: fx.Node, source: fx.Node) -> np.ndarray | None:
        ids = self._ids[source]
        if node.op == "call_function" and node.target in ADDING:
            others = [argument for argument in node.args if isinstance(argument, fx.Node)]
            if any(len(self._ids[other]) != len(ids) or "alpha" in node.kwargs for other in others):
                return None
            for other in others[1:]:
                for one, two in zip(ids.tolist(), self._ids[other].tolist(), strict=True):
                    self._parent[self._root(one)] = self._root(two)
            return ids
        if node.op == "call_function" and node.target is torch.cat:
            axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            return np.concatenate([self._ids[part] for part in node.args[0]]) if axis == 1 else None
        if node.target in (torch.flatten, "flatten"):
            start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
            return _flattened(ids, node) if start == 1 else None
        if node.target in (torch.mean, "mean"):
            axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", ())
            return ids if axes in ((2, 3), [2, 3], (-2, -1), [-2, -1]) else None
        known = node.target in (PASSING_FUNCTIONS if node.op == "call_function" else PASSING_METHODS)
        return ids if known else None

    def _fresh(self, count: int) -> np.ndarray:
        first = len(self._parent)
        self._parent += range(first, first + count)
        return np.arange(first, first + count)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def _roots(self, ids: np.ndarray) -> np.ndarray:
        return np.array([self._root(number) for number in ids.tolist()], np.int64)


def _channels(node: fx.Node) -> int:
    meta = node.meta.get("tensor_meta")
    return int(meta.shape[1]) if hasattr(meta, "shape") and len(meta.shape) > 1 else 0


def _flattened(ids: np.ndarray, node: fx.Node) -> np.ndarray:
    return np.repeat(ids, _channels(node) // len(ids))
