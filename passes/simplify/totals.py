"""What a graph consists of, in the figures that tables show: nodes, multiply-adds, parameters."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnxscript import ir

from .editing import elements, operator, sizes

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Totals:
    """Of one graph.

    Attributes
    ----------
    nodes : int
    macs : int
        Multiply-adds of convolutions and matrix products in one run.
    params : int
        Numbers in floating-point constants.
    """

    nodes: int
    macs: int
    params: int

    @classmethod
    def of(cls, graph: ir.Graph) -> Totals:
        """Count."""
        nodes = list(graph)
        params = sum(elements(value) for value in graph.initializers.values() if value.dtype in FLOATS and value.uses())
        return cls(len(nodes), sum(map(macs, nodes)), params)

    def __sub__(self, other: Totals) -> Iterator[int]:
        """How much less the other one has: nodes, macs, params."""
        return iter((self.nodes - other.nodes, self.macs - other.macs, self.params - other.params))


def macs(node: ir.Node) -> int:
    """Multiply-adds of a convolution or a matrix product, 0 of any other node."""
    kind = operator(node)
    if kind not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    x, weight, y = sizes(node.inputs[0]), sizes(node.inputs[1]), sizes(node.outputs[0])
    if not x or not weight or y is None:
        return 0
    if kind == "Conv":
        return elements(node.outputs[0]) * (elements(node.inputs[1]) // max(weight[0], 1))
    if kind == "ConvTranspose":
        return elements(node.inputs[0]) * (elements(node.inputs[1]) // max(weight[0], 1))
    if kind == "Gemm":
        return elements(node.outputs[0]) * x[0 if node.attributes.get_int("transA", 0) else -1]
    return elements(node.outputs[0]) * x[-1]
