"""Functions inside an ONNX model: who calls whom, and how many nodes there are once every call is written out."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx

from ..errors import TenfoldError

MOST_NODES = 50_000  # of a network, written out; the largest published convolutional ones have a tenth of it

Key = tuple[str, str, str]
Functions = Mapping[Key, onnx.FunctionProto]


def functions_of(proto: onnx.ModelProto, name: str) -> Functions:
    """The model's own functions by domain, name and overload."""
    functions = {(function.domain, function.name, function.overload): function for function in proto.functions}
    if len(functions) != len(proto.functions):
        raise TenfoldError(f"{name}: two functions have the same name")
    return functions


def called_by(node: onnx.NodeProto) -> Key:
    """The key under which a function would be that `node` calls."""
    return node.domain, node.op_type, node.overload


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that are attributes of a node, such as the branches of If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def check_calls(proto: onnx.ModelProto, functions: Functions, name: str) -> None:
    """Raise TenfoldError for functions that call themselves, and for more nodes than a network may have, counted before any is made.

    With n(f) the number of nodes of f: ``n(f) = sum over the nodes of f of (n(g) if it calls g else 1)``.
    """
    called = {key: list(dict.fromkeys(_called(function.node, functions))) for key, function in functions.items()}
    counts: dict[Key, int] = {}
    for key in functions:
        _count_function(key, functions, called, counts, name)
    total = _count_nodes(proto.graph.node, counts)
    if total > MOST_NODES:
        number = f"{total:,}" if total < 10**15 else "more than 10^15"
        written_out = ", once the functions in it are written out" if functions else ""
        raise TenfoldError(f"{name}: has {number} nodes{written_out}; the most that is read is {MOST_NODES:,}")


def _count_function(start: Key, functions: Functions, called: Mapping[Key, list[Key]], counts: dict[Key, int], name: str) -> None:
    """Enter the count of `start` and of all that it calls into `counts`; with a stack of its own, for a chain of calls may be long."""
    waiting = [(start, iter(called[start]))]
    open_calls = {start}
    while waiting:
        key, callees = waiting[-1]
        callee = next((one for one in callees if one not in counts), None)
        if callee is None:
            counts.setdefault(key, _count_nodes(functions[key].node, counts))
            open_calls.discard(key)
            waiting.pop()
        elif callee in open_calls:
            raise TenfoldError(f"{name}: function {callee[1]!r} calls itself, directly or through others, without end")
        else:
            open_calls.add(callee)
            waiting.append((callee, iter(called[callee])))


def _called(nodes: Iterable[onnx.NodeProto], functions: Functions) -> Iterator[Key]:
    for node in nodes:
        if called_by(node) in functions:
            yield called_by(node)
        for graph in inner_graphs(node):
            yield from _called(graph.node, functions)


def _count_nodes(nodes: Iterable[onnx.NodeProto], counts: Mapping[Key, int]) -> int:
    total = 0
    for node in nodes:
        total += counts.get(called_by(node), 1) + sum(_count_nodes(graph.node, counts) for graph in inner_graphs(node))
    return total
