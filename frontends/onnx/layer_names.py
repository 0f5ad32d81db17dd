"""A stable, readable, unique name for every layer: what plans, tables and Relax variables call it."""
from __future__ import annotations

import ast
import re

from onnxscript import ir

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What exporters append to the name of a layer to name its weight: conv1.weight, conv1_w_0, block/conv/kernel.
WEIGHT_SUFFIX = re.compile(r"[._/](weights?|kernel|w)(_0)?(:0)?$", re.IGNORECASE)
# Names that only count: 123, onnx::Conv_123, val_7.
COUNTED = re.compile(r"^(onnx::)?(\w+_)?\d+$")
# Where torch's exporter notes the modules around a node, from the outermost to the operator itself.
SCOPES = "pkg.torch.onnx.name_scopes"
# What Relax calls the values that have no name of their own.
RESERVED = re.compile(r"^(lv|gv)\d*$")


def layers(model: ir.Model) -> list[ir.Node]:
    """The convolutions and matrix products of a model, in graph order: with a constant weight, or with a computed one."""
    return [node for node in model.graph if node.op_type in LAYERS and node.domain in ("", "ai.onnx") and len(node.inputs) > 1]


def name_layers(model: ir.Model) -> list[ir.Node]:
    """Name every layer, in place, and return them.

    A node keeps the name it has; one without gets the name of its weight less the suffix (``conv1`` for ``conv1.weight``), or,
    where the weight is computed or has no telling name, its operator and number (``conv_3``). A name that is taken gets a number
    behind it.
    Only a layer that torch.export traced gets the name of its module at once: the names that its exporter gives only count.
    """
    taken, found, constants = {value.name for value in model.graph.inputs}, layers(model), _constants(model.graph)
    for number, node in enumerate(found, start=1):
        weight = (node.inputs[1].name or "") if node.inputs[1] in constants else ""
        name = from_module(node, weight) or node.name or from_weight(weight) or f"{node.op_type.lower()}_{number}"
        node.name = _unique(name, taken)
        taken.add(node.name)
    # Other nodes make room: names of nodes are unique in a graph.
    named = set(found)
    for node in model.graph.all_nodes():
        if node not in named and node.name in taken:
            node.name = None
    return found


def from_weight(weight: str) -> str | None:
    """The name of the layer that the name of its weight tells, or None where it only counts."""
    name = WEIGHT_SUFFIX.sub("", weight)
    return None if not name or COUNTED.match(name) else name


def from_module(node: ir.Node, weight: str) -> str | None:
    """The name of the torch module that `node` comes from, or None if it does not come from torch.export.

    The name of the weight tells it; where the exporter folded a transposition into a new weight, the scope of the node does.
    """
    if SCOPES not in node.metadata_props:
        return None
    scopes = ast.literal_eval(node.metadata_props[SCOPES])
    told = WEIGHT_SUFFIX.search(weight)
    return WEIGHT_SUFFIX.sub("", weight) or None if told else next((scope for scope in reversed(scopes[:-1]) if scope), None)


def _constants(graph: ir.Graph) -> set[ir.Value]:
    """Weights, and what is computed of weights only."""
    constants = {value for value in graph.initializers.values() if not value.is_graph_input()}
    for node in graph:
        if all(value is None or value in constants for value in node.inputs):
            constants.update(node.outputs)
    return constants


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken or RESERVED.match(unique):
        number += 1
        unique = f"{name}_{number}"
    return unique
