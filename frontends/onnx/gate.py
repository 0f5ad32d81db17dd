"""The gate: what every ONNX model has to be before anything else looks at it.

Parsers, shape inference, optimisers and compilers take much for granted, and crash where it is not so. `onnx.checker` is not
enough and too much: it passes tensors whose bytes and sizes disagree, and refuses outputs without a shape, which every engine runs.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto

from ...support.errors import TenfoldError
from .calls import check_calls, functions_of, inner_graphs
from .nodes import Opsets, check_node, where_is
from .tensors import KNOWN, check_sparse, check_tensor


def check_model(proto: onnx.ModelProto, name: str) -> None:
    """Raise TenfoldError, with the node or tensor and the reason, for a model that contradicts itself or the standard.

    Data outside the file are not looked at: `check_tensors` does that once they are read.
    """
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        raise TenfoldError(f"{name}: not an ONNX model, or cut short")
    functions = functions_of(proto, name)
    check_calls(proto, functions, name)
    check_tensors(proto, name)
    _check_values(proto.graph, name)
    for function in proto.functions:
        place = f"{name}: function {function.name!r}"
        scope = Scope(function.input)
        _check_nodes(function.node, scope, Opsets.of(function, functions), place)
        _check_outputs(function.output, scope, place)
    scope = Scope(_given(proto.graph))
    _check_nodes(proto.graph.node, scope, Opsets.of(proto, functions), name)
    _check_outputs([value.name for value in proto.graph.output], scope, name)


def check_tensors(proto: onnx.ModelProto, name: str) -> None:
    """Raise TenfoldError for a tensor, wherever in the model, whose element type, sizes and data disagree."""
    for graph in graphs(proto):
        names = Counter([*(tensor.name for tensor in graph.initializer), *(tensor.values.name for tensor in graph.sparse_initializer)])
        for twice in (one for one, number in names.items() if number > 1):
            raise TenfoldError(f"{name}: there are two tensors of the name {twice!r}")
        for tensor in graph.initializer:
            check_tensor(tensor, f"{name}: tensor {tensor.name!r}")
        for tensor in graph.sparse_initializer:
            check_sparse(tensor, f"{name}: sparse tensor {tensor.values.name!r}")
    for node in nodes(proto):
        for attribute in node.attribute:
            where = f"{name}: attribute {attribute.name!r} of {where_is(node)}"
            for tensor in (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors):
                check_tensor(tensor, where)
            for tensor in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()), *attribute.sparse_tensors):
                check_sparse(tensor, where)


def graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside a node, of functions too."""
    yield proto.graph
    for node in nodes(proto):
        yield from inner_graphs(node)


def nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node: of the graph, of graphs inside nodes, of functions."""
    yield from _nodes(proto.graph.node)
    for function in proto.functions:
        yield from _nodes(function.node)


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor, the parts of sparse ones among them."""
    for graph in graphs(proto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse_tensors = [*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()), *attribute.sparse_tensors]
            for sparse in sparse_tensors:
                yield from (sparse.values, sparse.indices)


def _nodes(found: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in found:
        yield node
        for graph in inner_graphs(node):
            yield from _nodes(graph.node)


class Scope:
    """The names that a node can read: those of its own graph so far, and those of the graphs around it."""

    def __init__(self, names: Iterable[str], around: Scope | None = None):
        self.names, self.around = set(names), around

    def __contains__(self, name: str) -> bool:
        return name in self.names or (self.around is not None and name in self.around)


def _given(graph: onnx.GraphProto) -> list[str]:
    """The names that are there before the first node."""
    sparse = [tensor.values.name for tensor in graph.sparse_initializer]
    return [*(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer), *sparse]


def _check_nodes(found: Iterable[onnx.NodeProto], scope: Scope, opsets: Opsets, name: str) -> None:
    """Check nodes in order: each reads only names in `scope`, and makes new ones. `scope` gets the names of all."""
    for node in found:
        check_node(node, opsets, name)
        for value in node.input:
            if value and value not in scope:
                raise TenfoldError(f"{name}: {where_is(node)} reads {value!r}, which nothing before it computes")
        for graph in inner_graphs(node):
            place, inside = f"{name}: a graph inside {where_is(node)}", Scope(_given(graph), scope)
            _check_nodes(graph.node, inside, opsets, name)
            _check_outputs([value.name for value in graph.output], inside, place)
        for value in node.output:
            if value and value in scope.names:
                raise TenfoldError(f"{name}: {where_is(node)} makes {value!r}, which is there already")
            scope.names.add(value)


def _check_outputs(outputs: Iterable[str], scope: Scope, name: str) -> None:
    for value in outputs:
        if not value or value not in scope:
            raise TenfoldError(f"{name}: nothing computes the output {value!r}")


def _check_values(graph: onnx.GraphProto, name: str) -> None:
    """Types of the inputs and of what else has one: known element types; names of inputs and of outputs are unique."""
    for kind, values in (("input", graph.input), ("output", graph.output)):
        names = [value.name for value in values]
        if len(names) != len(set(names)) or "" in names:
            raise TenfoldError(f"{name}: two {kind}s have the same name, or one has none: {', '.join(map(repr, names[:20]))}")
    for value in graph.input:
        if value.type.tensor_type.elem_type not in KNOWN:
            raise TenfoldError(f"{name}: input {value.name!r} has no element type of ONNX")
        if value.type.tensor_type.elem_type == TensorProto.STRING:
            raise TenfoldError(f"{name}: input {value.name!r} is of strings: cut the network behind what reads them")
    for value in (*graph.output, *graph.value_info):
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type not in (TensorProto.UNDEFINED, *KNOWN):
            raise TenfoldError(f"{name}: value {value.name!r} has element type {value.type.tensor_type.elem_type}, which is none of ONNX")

