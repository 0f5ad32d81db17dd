"""Constants of an onnxscript IR graph: their values, and new ones under names that are free."""
from __future__ import annotations

import re

import numpy as np
from onnxscript import ir

ONNX = ("", "ai.onnx")


def is_constant(value: ir.Value | None) -> bool:
    """Known before the network runs: an initializer or the output of a Constant node, not an input that has a default."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The float64 value of a floating-point constant, or None."""
    if value is None or not is_constant(value) or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else None


def set_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Replace an input of a node by a constant in the dtype of its weight, under the old name where that is free.

    Parameters
    ----------
    node : ir.Node
        The layer.
    index : int
        Which of its inputs.
    array : ndarray of floats
        The new value.
    """
    old = node.inputs[index] if index < len(node.inputs) else None
    reference = old if old is not None else node.inputs[1]
    array = np.ascontiguousarray(array, dtype=reference.const_value.numpy().dtype)
    graph = node.graph
    base = old.name if old is not None else re.sub(r"weight$|$", "bias", node.inputs[1].name, count=1)
    if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
        node.replace_input_with(index, None)
        if old.name in graph.initializers:
            graph.initializers.pop(old.name)
    value = initializer(graph, base, array)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Add an initializer to a graph.

    Parameters
    ----------
    graph : ir.Graph
        What it is added to.
    name : str
        Its name; a number is put behind it if it is taken.
    array : ndarray
        Its value.
    """
    taken = set(graph.initializers) | {value.name for value in graph.inputs} | {out.name for node in graph for out in node.outputs}
    unique, number = name, 0
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    value = ir.Value(name=unique, const_value=ir.tensor(array, name=unique), shape=ir.Shape(array.shape))
    value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    graph.register_initializer(value)
    return value
