"""Edits of an onnxscript IR graph that keep it whole: what takes a value's place takes its name, and what nobody reads is gone."""
from __future__ import annotations

import math

import numpy as np
from onnxscript import ir

from ...frontends.onnx.initializers import ONNX, initializer, is_constant

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """The static shape of a value, or None."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape)


def elements(value: ir.Value) -> int:
    """How many numbers a value of static shape holds."""
    return math.prod(sizes(value) or ())


def is_float(value: ir.Value | None) -> bool:
    """Whether it is a tensor of float32 or float64 of known, non-empty shape."""
    shape = sizes(value)
    return value is not None and value.dtype in FLOATS and shape is not None and 0 not in shape


def operator(node: ir.Node | None) -> str:
    """The operator of a node of ONNX's own domain; empty for any other."""
    return node.op_type if node is not None and node.domain in ONNX else ""


def alone(value: ir.Value | None) -> bool:
    """Whether a value has one reader, and is no output of the graph."""
    return value is not None and len(value.uses()) == 1 and not value.is_graph_output()


def sole_producer(value: ir.Value | None) -> ir.Node | None:
    """The node that makes a value for one reader alone, if it makes nothing else."""
    node = None if value is None else value.producer()
    return node if node is not None and alone(value) and len(node.outputs) == 1 else None


def insert(
    before: ir.Node, op_type: str, inputs: list[ir.Value | None], name: str, shape: tuple[int, ...], **attributes: object
) -> ir.Value:
    """Put a new node before another one, and return what it makes.

    Parameters
    ----------
    before : ir.Node
    op_type : str
    inputs : list of ir.Value
        The first one gives the type of the output.
    name : str
        Of the node; the output is called so too, with ``.output`` behind it.
    shape : tuple of int
        Of the output.
    **attributes
        Of the node.
    """
    node = ir.node(op_type, inputs, attributes, name=name)
    output, first = node.outputs[0], inputs[0]
    assert first is not None
    output.shape, output.type = ir.Shape(shape), first.type
    output.name = free_name(before.graph, f"{name}.output")
    before.graph.insert_before(before, node)
    return output


def free_name(graph: ir.Graph, name: str) -> str:
    """The name, with a number behind it if a value is called so."""
    taken = set(graph.initializers) | {value.name for value in graph.inputs} | {out.name for node in graph for out in node.outputs}
    unique, number = name, 0
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique


def add_integers(name: str, numbers: tuple[int, ...], graph: ir.Graph) -> ir.Value:
    """A new initializer of int64, such as a shape.

    Parameters
    ----------
    name : str
    numbers : tuple of int
    graph : ir.Graph
    """
    return initializer(graph, name, np.array(numbers, np.int64))


def add_constant(like: ir.Value, name: str, array: np.ndarray, graph: ir.Graph) -> ir.Value:
    """A new initializer of the type of another value.

    Parameters
    ----------
    like : ir.Value
    name : str
    array : ndarray
    graph : ir.Graph
    """
    return initializer(graph, name, np.ascontiguousarray(array, dtype=like.dtype.numpy()))


def fits(like: ir.Value, *arrays: np.ndarray) -> bool:
    """Whether the arrays stay finite in the dtype of a value."""
    with np.errstate(over="ignore"):
        return all(bool(np.isfinite(array.astype(like.dtype.numpy())).all()) for array in arrays)


def supplant(old: ir.Value, new: ir.Value) -> None:
    """Let `new` take the readers, the name and the place among the outputs of `old`; the nodes that only `old` needed are removed."""
    node, name, renamed = old.producer(), old.name, old.is_graph_output() or not new.uses()
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name = None
    if renamed:
        new.name = name
    if node is not None:
        drop(node)


def may_stand_for(new: ir.Value, old: ir.Value) -> bool:
    """Whether `new`, which is in the graph already, can take the place of `old` without a name being lost."""
    return not old.is_graph_output() or not (new.is_graph_output() or new.is_graph_input() or new.producer() is None)


def drop(node: ir.Node) -> None:
    """Remove a node if nobody reads what it makes; then the nodes and initializers that only it read."""
    if node.graph is None or any(value.uses() or value.is_graph_output() for value in node.outputs):
        return
    graph, inputs = node.graph, [value for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    for value in dict.fromkeys(inputs):
        producer = value.producer()
        if producer is not None:
            drop(producer)
        elif not value.uses() and not value.is_graph_output() and is_constant(value) and value.name in graph.initializers:
            graph.initializers.pop(value.name)
