"""The Conv, Gemm or MatMul of a layer becomes its factor chain, in the ONNX graph: what `Factorize` does to the Relax module.

    y = Conv(x, W, b)     ->   Conv(x, W0) -> ... -> y = Conv(., Wn, b)
    y = Gemm(x, W, c)     ->   Gemm(x, W0) -> y = Gemm(., W1, c)
    y = MatMul(x, W)      ->   MatMul(x, W0) -> y = MatMul(., W1)
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..factorization import FactorChain, Stage
from ..support.errors import TenfoldError
from .factor_chains import check_names, dense_weight, push_permutations

FACTORED_OPERATORS = ("Conv", "Gemm", "MatMul")


def factorize_onnx(model: onnx.ModelProto, chains: dict[str, FactorChain]) -> onnx.ModelProto:
    """Replace layers by their factor chains.

    Parameters
    ----------
    model : onnx.ModelProto
        Not modified. Its layers are found by the names of their nodes.
    chains : dict of str to FactorChain
        By the names of the layers. The chain of a Gemm holds its alpha, as `weights` gives it.

    Returns
    -------
    onnx.ModelProto
        Nodes of a chain are called ``<layer>.0``, ``<layer>.1``, ...; the last makes the tensor that the layer made. Inputs, outputs,
        opsets, IR version and metadata are those of `model`; weights that nothing reads any more are gone.

    Raises
    ------
    TenfoldError
        A name that is no layer of the model, or a chain that does not fit its layer.
    """
    check_names(chains, [node.name for node in model.graph.node if node.op_type in FACTORED_OPERATORS])
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    writer = _Writer(graph)
    nodes: list[onnx.NodeProto] = []
    dropped: set[str] = set()
    for node in graph.node:
        if node.name in chains and node.op_type in FACTORED_OPERATORS:
            nodes += writer.chain(node, push_permutations(chains[node.name]))
            dropped.update(node.input)
        else:
            nodes.append(node)
    nodes = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(writer.initializers)
    dropped -= _read(graph) | {value.name for value in graph.output}
    _remove(graph.initializer, dropped)
    _remove(graph.input, {tensor.name for tensor in model.graph.initializer} & dropped)
    return result


def stage_names(layers: Iterable[str], chains: Mapping[str, FactorChain]) -> set[str]:
    """The nodes of layers in a graph that `factorize_onnx` made: of a factored layer its stages, of others the layer itself."""
    factored = [f"{name}.{i}" for name in layers if name in chains for i in range(len(chains[name].stages))]
    return {*factored, *(name for name in layers if name not in chains)}


class _Writer:
    """Writes the nodes of chains, and keeps their weights, under names that the graph does not have yet."""

    def __init__(self, graph: onnx.GraphProto):
        self.initializers: list[onnx.TensorProto] = []
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.taken = {name for node in graph.node for name in (*node.input, *node.output, node.name)}
        self.taken |= set(self.constants) | {value.name for value in (*graph.input, *graph.output)}

    def chain(self, node: onnx.NodeProto, chain: FactorChain) -> list[onnx.NodeProto]:
        """The nodes of a layer's chain."""
        value = node.input[0]
        nodes: list[onnx.NodeProto] = []
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        bias = node.input[2] if len(node.input) > 2 else ""
        axis = 1 if node.op_type == "Conv" else -1
        for i, stage in enumerate(chain.stages):
            name = f"{node.name}.{i}"
            first, last = i == 0, i == len(chain.stages) - 1
            if stage.input_permutation is not None:
                value = self._gather(nodes, value, stage.input_permutation, axis, f"{name}.order")
            own = bias if last else ""
            if own and chain.permutation is not None:
                own = self._sorted_bias(own, chain.permutation, attributes, name)
            make = {"Conv": self._conv, "Gemm": self._gemm, "MatMul": self._matmul}[node.op_type]
            try:
                value = make(nodes, value, stage, name, own, attributes, first)
            except ValueError as error:
                raise TenfoldError(f"the chain does not fit the layer {node.name!r}: {error}") from None
        if chain.permutation is not None:
            self._gather(nodes, value, chain.permutation, axis, f"{node.name}.order")
        nodes[-1].output[0] = node.output[0]
        return nodes

    def _conv(self, nodes: list[onnx.NodeProto], value: str, stage: Stage, name: str, bias: str, attributes: Mapping[str, Any],
              first: bool) -> str:
        geometry = {
            "kernel_shape": list(stage.kernel),
            "strides": list(stage.stride),
            "pads": list(stage.padding),
            "dilations": list(stage.dilation),
            "group": stage.groups,
        }
        weight = self._initializer(stage.weight, f"{name}.weight")
        inputs = [value, weight, *self._bias(stage, bias, {}, name)]
        return self._node(nodes, "Conv", inputs, name, **geometry)

    def _gemm(self, nodes: list[onnx.NodeProto], value: str, stage: Stage, name: str, bias: str, attributes: Mapping[str, Any],
              first: bool) -> str:
        weight = self._initializer(np.ascontiguousarray(dense_weight(stage).T), f"{name}.weight")
        options = {"transB": 1}
        if first and attributes.get("transA", 0):
            options["transA"] = 1
        inputs = [value, weight, *self._bias(stage, bias, attributes, name)]
        if inputs[2:] == [bias] and bias and attributes.get("beta", 1.0) != 1.0:
            options["beta"] = attributes["beta"]
        return self._node(nodes, "Gemm", inputs, name, **options)

    def _matmul(self, nodes: list[onnx.NodeProto], value: str, stage: Stage, name: str, bias: str, attributes: Mapping[str, Any],
                first: bool) -> str:
        weight = self._initializer(dense_weight(stage), f"{name}.weight")
        value = self._node(nodes, "MatMul", [value, weight], name)
        if stage.bias is not None:
            value = self._node(nodes, "Add", [value, self._initializer(stage.bias, f"{name}.bias")], f"{name}.add")
        return value

    def _bias(self, stage: Stage, bias: str, attributes: Mapping[str, Any], name: str) -> list[str]:
        """The bias input of a stage: the layer's own, the chain's, or their sum."""
        if stage.bias is None:
            return [bias] if bias else []
        total = stage.bias
        if bias:
            total = total + attributes.get("beta", 1.0) * self._value(bias, name)
        return [self._initializer(np.asarray(total, np.float32), f"{name}.bias")]

    def _sorted_bias(self, bias: str, permutation: np.ndarray, attributes: Mapping[str, Any], name: str) -> str:
        """The layer's bias in the order of the last stage's channels, which a gather follows."""
        array = self._value(bias, name)
        array = np.broadcast_to(array, (*array.shape[:-1], len(permutation))) if array.ndim else np.full(len(permutation), array)
        ordered = np.empty_like(array)
        ordered[..., permutation] = array
        return self._initializer(ordered, f"{name}.bias")

    def _value(self, bias: str, name: str) -> np.ndarray:
        if bias not in self.constants:
            layer = name.rpartition(".")[0]
            raise TenfoldError(f"layer {layer!r}: its bias is not constant, and its chain has a bias or an order of its own")
        return numpy_helper.to_array(self.constants[bias])

    def _gather(self, nodes: list[onnx.NodeProto], value: str, order: np.ndarray, axis: int, name: str) -> str:
        return self._node(nodes, "Gather", [value, self._initializer(order.astype(np.int64), f"{name}.indices")], name, axis=axis)

    def _initializer(self, array: np.ndarray, name: str) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), self._unique(name))
        self.initializers.append(tensor)
        self.constants[tensor.name] = tensor
        return tensor.name

    def _node(self, nodes: list[onnx.NodeProto], op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        output = self._unique(f"{name}.output")
        nodes.append(helper.make_node(op_type, inputs, [output], name=self._unique(name), **attributes))
        return output

    def _unique(self, name: str) -> str:
        unique, number = name, 1
        while unique in self.taken:
            number += 1
            unique = f"{name}_{number}"
        self.taken.add(unique)
        return unique


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy, which survives the removal of the nodes of its graph."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _read(graph: onnx.GraphProto) -> set[str]:
    """All names that nodes of a graph read, those of its subgraphs too."""
    names: set[str] = set()
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                names |= _read(subgraph)
    return names


def _remove(values: Any, names: set[str]) -> None:
    """Remove entries of a repeated field, which protobuf gives no type that says so, by their names."""
    for i in reversed(range(len(values))):
        if values[i].name in names:
            del values[i]
