"""Nodes that compute the same of the same -> one of them.

    x -> Relu -> a               ->   x -> Relu -> a
    x -> Relu -> b                              a takes the place of b

Constants are compared by value. What differs each time (random numbers), and what holds a graph of its own, is left alone.
"""
from __future__ import annotations

from onnxscript import ir

from ...frontends.onnx.constant_nodes import NEVER_FOLDED
from ...frontends.onnx.initializers import is_constant
from .editing import drop
from .rewrite import Rewrite

SAMPLE = 64  # numbers of a constant that are looked at first


class Common(Rewrite):
    """Common subexpressions."""

    name = "common"

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], ir.Node] = {}

    def begin(self, graph: ir.Graph) -> None:
        """Forget the nodes of the last round."""
        self._seen.clear()

    def at(self, node: ir.Node) -> str | None:
        """Let an earlier node that computes the same take this one's place."""
        kinds = {attribute.type for attribute in node.attributes.values()}
        if node.op_type in NEVER_FOLDED or kinds & {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS} or not node.inputs:
            return None
        proto = ir.serde.serialize_node(node)
        written = sorted(attribute.SerializeToString(deterministic=True) for attribute in proto.attribute)
        used = tuple(value.name != "" and value.name is not None for value in node.outputs)
        key = (node.domain, node.op_type, node.overload, tuple(written), used, tuple(_mark(value) for value in node.inputs))
        earlier = self._seen.setdefault(key, node)
        if earlier is node or earlier.graph is not node.graph or any(value.is_graph_output() for value in node.outputs):
            return None
        if not all(map(_equal, node.inputs, earlier.inputs)):
            return None
        for old, new in zip(node.outputs, earlier.outputs, strict=True):
            ir.convenience.replace_all_uses_with(old, new)
        drop(node)
        return earlier.name or earlier.outputs[0].name or node.op_type


def _mark(value: ir.Value | None) -> object:
    """What two inputs have in common that may be the same: the value itself, or the type and some numbers of a constant."""
    if value is None or not is_constant(value):
        return value
    array = value.const_value.numpy()
    return array.dtype.str, array.shape, array.reshape(-1)[:SAMPLE].tobytes()


def _equal(a: ir.Value | None, b: ir.Value | None) -> bool:
    if a is b or a is None or b is None:
        return a is b
    return a.const_value.numpy().tobytes() == b.const_value.numpy().tobytes()
