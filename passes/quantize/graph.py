"""An ONNX graph that is edited: who makes a value, who reads it, what is constant."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """A copy of a model, with indices. After an edit of nodes `index` is called.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised. Not modified.

    Attributes
    ----------
    model : onnx.ModelProto
        The copy.
    makers : dict of str to onnx.NodeProto
        By the values that they make.
    readers : dict of str to list of onnx.NodeProto
        By the values that they read; a node that reads a value twice is there twice.
    outputs : set of str
        Of the graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self._taken = {value.name for value in (*model.graph.input, *model.graph.output)} | set(self._constants)
        self._taken |= {name for node in model.graph.node for name in (node.name, *node.input, *node.output)}
        self._types = {value.name: value.type.tensor_type for value in _values(model.graph)}
        self.index()

    def index(self) -> None:
        """Find makers and readers afresh."""
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """The nodes, sorted: none reads what a later one makes."""
        return self.model.graph.node

    def set_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Give the graph other nodes, sorted. Those that were in it are copied: others of them are void from then on."""
        kept = [_copy(node) for node in nodes]
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        self.index()

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant; None for other values."""
        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None

    def set_constant(self, name: str, array: np.ndarray) -> None:
        """Give a constant another value."""
        self._constants[name].CopyFrom(numpy_helper.from_array(np.asarray(array, order="C"), name))

    def add_constant(self, name: str, array: np.ndarray) -> str:
        """Add a constant; its name may get a number behind it."""
        name = self.unique(name)
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        self._constants[name] = self.model.graph.initializer[-1]
        return name

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The sizes of a value; None where they are not known."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        kind = self._types.get(name)
        if kind is None or not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
            return None
        return tuple(dim.dim_value for dim in kind.shape.dim)

    def is_float(self, name: str) -> bool:
        """Whether a value is known to be of float32."""
        if name in self._constants:
            return bool(self._constants[name].data_type == onnx.TensorProto.FLOAT)
        return name in self._types and self._types[name].elem_type == onnx.TensorProto.FLOAT

    def sole_reader(self, value: str) -> onnx.NodeProto | None:
        """The node that reads a value, where it is the only one and the value is no output."""
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.outputs else None

    def unique(self, name: str) -> str:
        """The name, with a number behind it where something is called so."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def forget_unread(self) -> None:
        """Remove constants that nothing reads."""
        read = {name for node in self.nodes for name in _reads(node)} | self.outputs
        for number in reversed(range(len(self.model.graph.initializer))):
            if self.model.graph.initializer[number].name not in read:
                del self.model.graph.initializer[number]
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes of all values that can be inferred."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(bare, data_prop=True)


def _values(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto]:
    return (*graph.value_info, *graph.input, *graph.output)


def _reads(node: onnx.NodeProto) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
