"""Functions inside an ONNX model: who calls whom, and how many nodes there are once every call is written out."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
import onnx.inliner

from ...support.errors import TenfoldError

MOST_NODES = 20_000  # of a network, written out; the largest published convolutional ones have a tenth of it
MOST_CALLS = 500  # that onnx_ir's inliner writes out, in a time that grows with their square

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


def inline(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """`proto` itself, or with thousands of calls of its own functions, the same model with them written out.

    The rest is onnx_ir's inliner's: it keeps names better than onnx's own, but takes minutes for so many.
    """
    functions = functions_of(proto, name)
    calls = _total(proto, functions, name, node=0)
    return onnx.inliner.inline_local_functions(proto) if calls > MOST_CALLS else proto


def check_calls(proto: onnx.ModelProto, functions: Functions, name: str) -> None:
    """Raise TenfoldError for functions that call themselves, and for more nodes than a network may have, counted before any is made.

    Parameters
    ----------
    proto : onnx.ModelProto or onnx.FunctionProto
        Whose nodes are counted.
    functions : Functions
        The functions of the file.
    name : str
        How messages name the model.
    """
    total = _total(proto, functions, name)
    if total > MOST_NODES:
        number = f"{total:,}" if total < 10**15 else "more than 10^15"
        written_out = ", once the functions in it are written out" if functions else ""
        raise TenfoldError(f"{name}: has {number} nodes{written_out}; the most that is read is {MOST_NODES:,}")


def _total(proto: onnx.ModelProto, functions: Functions, name: str, node: int = 1) -> int:
    """Count the nodes once functions are written out.

    n(f), of a function f, is ``1 + sum over its nodes of (n(g) if the node calls g else node)``: 1 is for the call.
    """
    called = {key: list(dict.fromkeys(_called(function.node, functions))) for key, function in functions.items()}
    counts: dict[Key, int] = {}
    for start in functions:
        for key in _callees_first(start, called, counts, name):
            counts[key] = 1 + _count(functions[key].node, counts, node)
    return _count(proto.graph.node, counts, node)


def _callees_first(start: Key, called: Mapping[Key, list[Key]], done: Mapping[Key, int], name: str) -> Iterator[Key]:
    """`start` and all that it calls and is not done yet, each behind those it calls; with a stack of its own, for chains may be long."""
    waiting, under_way = [(start, iter(called[start]))], {start}
    while waiting:
        key, callees = waiting[-1]
        callee = next((one for one in callees if one not in done), None)
        if callee is None:
            waiting.pop()
            under_way.discard(key)
            if key not in done:
                yield key
        elif callee in under_way:
            raise TenfoldError(f"{name}: function {callee[1]!r} calls itself, directly or through others, without end")
        else:
            under_way.add(callee)
            waiting.append((callee, iter(called[callee])))


def _called(nodes: Iterable[onnx.NodeProto], functions: Functions) -> Iterator[Key]:
    for node in nodes:
        if called_by(node) in functions:
            yield called_by(node)
        for graph in inner_graphs(node):
            yield from _called(graph.node, functions)


def _count(nodes: Iterable[onnx.NodeProto], counts: Mapping[Key, int], each: int) -> int:
    return sum(counts.get(called_by(node), each) + sum(_count(graph.node, counts, each) for graph in inner_graphs(node)) for node in nodes)
