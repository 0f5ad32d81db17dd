"""How exactly the values of a model are known: the least of its floating-point types, and the bits of quantized activations."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto

FLOATS = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
# Significant bits, the leading one included.
DIGITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
BITS: dict[int, int] = {
    TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16, TensorProto.INT4: 4, TensorProto.UINT4: 4,
}
QUANTIZERS = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")


@dataclass(frozen=True)
class Precision:
    """Precision of a model.

    Attributes
    ----------
    dtype : str
        The floating-point type with the fewest significant bits among its weights, inputs, outputs and casts.
    bits : int or None
        Bits of the coarsest quantizer of activations; None where there is none.
    """

    dtype: str = "float32"
    bits: int | None = None


def precision_of(model: onnx.ModelProto) -> Precision:
    """The precision of a model as it was given; values of its weights are not looked at."""
    nodes = [node for graph in _graphs(model.graph) for node in graph.node] + [node for f in model.functions for node in f.node]
    tensors = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    tensors += [attribute.t for node in nodes for attribute in node.attribute if attribute.HasField("t")]
    types = {tensor.data_type for tensor in tensors}
    types |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    types |= {attribute.i for node in nodes if node.op_type == "Cast" for attribute in node.attribute if attribute.name == "to"}
    found = [FLOATS[kind] for kind in types if kind in FLOATS] or ["float32"]
    return Precision(min(found, key=DIGITS.__getitem__), _bits(nodes, {tensor.name: tensor.data_type for tensor in tensors}))


def _bits(nodes: list[onnx.NodeProto], constants: dict[str, int]) -> int | None:
    found = []
    for node in nodes:
        if node.op_type not in QUANTIZERS or node.input[0] in constants:
            continue
        zero = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7}.get(node.op_type)
        name = node.input[zero] if zero is not None and zero < len(node.input) else ""
        declared = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        found.append(BITS.get(constants.get(name, declared or TensorProto.UINT8), 8))
    return min(found, default=None)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those of its control flow."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)
