"""Where integers are computed: which operators, and which values are rounded between them.

Layers are, and what lies between them: sums, concatenations and pools with steps of their own, and operators that only move values,
whose outputs keep the steps of their inputs. A ReLU behind a layer is the saturation of its rounding: nothing is rounded between.
"""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from .graph import Graph
from .layers import LAYERS, QuantizableLayer, find_layers

OWN_STEP = ("Add", "Concat", "AveragePool", "GlobalAveragePool")
SAME_STEP = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "DepthToSpace", "SpaceToDepth", "Identity")
SATURATING = ("Relu", "Clip")
NOT_ASKED = "as asked"


@dataclass(frozen=True)
class Placement:
    """What of a graph is quantized.

    Attributes
    ----------
    layers : dict of str to QuantizableLayer
        Those that are, by name, in order.
    results : dict of str to str
        By their names, the value behind the ReLU of each, if it has one, else its output.
    reasons : dict of str to str
        Why the other layers are not.
    operators : dict of str to int
        How many other operators are computed in integers, by kind.
    values : dict of str to str
        The values that are rounded, in order, and of each the one that has its steps: itself, or one before it.
    active : frozenset of str
        The outputs of the operators that are computed in integers, layers among them.
    integer : frozenset of str
        What these make, behind their ReLUs: all that reads it reads it rounded.
    """

    layers: dict[str, QuantizableLayer]
    results: dict[str, str]
    reasons: dict[str, str]
    operators: dict[str, int]
    values: dict[str, str]
    active: frozenset[str]
    integer: frozenset[str]


def place(graph: Graph, keep: Collection[str] = ()) -> Placement:
    """Choose what is computed in integers.

    Parameters
    ----------
    graph : Graph
        Prepared.
    keep : collection of str
        Names of layers that stay in float32.
    """
    layers, reasons = find_layers(graph)
    reasons |= dict.fromkeys((name for name in layers if name in keep), NOT_ASKED)
    layers = {name: layer for name, layer in layers.items() if name not in keep}
    results = {node.output[0]: _result(graph, node) for node in graph.nodes if node.output}
    active = _active(graph, layers, results)
    values: dict[str, str] = {}
    integer = frozenset(results[output] for output in active)
    for node in graph.nodes:
        output = node.output[0] if node.output else ""
        if output not in active:
            continue
        for name in _data_inputs(node):
            values.setdefault(name, name)
        result = results[output]
        if node.op_type in SAME_STEP:
            values[result] = values[node.input[0]]
        elif node.op_type == "Conv" or any(_reads_as_data(reader, result, active) for reader in graph.readers.get(result, [])):
            values.setdefault(result, result)
    kinds = [graph.makers[output].op_type for output in active if graph.makers[output].op_type not in LAYERS]
    operators = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    behind = {name: results[layer.output] for name, layer in layers.items()}
    return Placement(layers, behind, reasons, operators, values, frozenset(active), integer)


def _result(graph: Graph, node: onnx.NodeProto) -> str:
    """What a node makes, behind a ReLU that nothing else reads it through."""
    value: str = node.output[0]
    if node.op_type in (*LAYERS, *OWN_STEP):
        reader = graph.sole_reader(value)
        if reader is not None and reader.op_type in SATURATING and reader.input[0] == value and graph.is_float(value):
            return str(reader.output[0])
    return value


def _active(graph: Graph, layers: dict[str, QuantizableLayer], results: dict[str, str]) -> list[str]:
    """The outputs of the nodes that are computed in integers, in order."""
    own = {layer.output for layer in layers.values()}
    wanted = set(own)
    for node in reversed(graph.nodes):
        output = node.output[0] if node.output else ""
        readers = graph.readers.get(results[output], []) if _eligible(graph, node) else []
        if any(_reads_as_data(reader, results[output], wanted) for reader in readers):
            wanted.add(output)
    active: list[str] = []
    made: set[str] = set()  # by these
    for node in graph.nodes:
        output = node.output[0] if node.output else ""
        if output in own or (output in wanted and not made.isdisjoint(_data_inputs(node))):
            active.append(output)
            made.add(results[output])
    return active


def _eligible(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type not in OWN_STEP + SAME_STEP or len(node.output) != 1 or node.domain not in ("", "ai.onnx"):
        return False
    inputs = _data_inputs(node)
    return all(graph.is_float(name) and graph.constant(name) is None for name in inputs) and graph.is_float(node.output[0])


def _data_inputs(node: onnx.NodeProto) -> list[str]:
    """The activations that a node reads; the others are weights, shapes and the like."""
    return list(node.input) if node.op_type in ("Add", "Concat") else list(node.input[:1])


def _reads_as_data(node: onnx.NodeProto, value: str, active: Collection[str]) -> bool:
    return bool(node.output) and node.output[0] in active and value in _data_inputs(node)
