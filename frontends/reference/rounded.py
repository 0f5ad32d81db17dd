"""A copy of a model whose products have rounded operands: what such a rounding changes, by an engine that knows nothing of our kernels."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
TYPES = {"bfloat16": TensorProto.BFLOAT16, "float16": TensorProto.FLOAT16}


def with_rounded_operands(model: onnx.ModelProto, dtype: str, weights_only: bool) -> onnx.ModelProto:
    """Round what convolutions and matrix products of the main graph multiply.

    Parameters
    ----------
    model : onnx.ModelProto
        In float32. It is only read.
    dtype : str
        ``bfloat16`` or ``float16``.
    weights_only : bool
        Constants alone; else what the network computes, too.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, kind = copy.graph, TYPES[dtype]
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    done: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for position, name in enumerate(node.input[:2] if node.op_type in PRODUCTS else ()):
            if name in constants and name not in done:
                done[name] = f"{name}/{dtype}"
                graph.initializer.append(_rounded(constants[name], kind, done[name]))
            elif name not in constants and not weights_only and name not in done:
                done[name] = f"{name}/{dtype}"
                nodes += _casts(name, kind, done[name])
            node.input[position] = done.get(name, name)
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return copy


def _rounded(tensor: onnx.TensorProto, kind: int, name: str) -> onnx.TensorProto:
    with np.errstate(over="ignore"):
        values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind)).astype(np.float32)
    return numpy_helper.from_array(values, name)


def _casts(name: str, kind: int, result: str) -> Iterator[onnx.NodeProto]:
    yield helper.make_node("Cast", [name], [f"{result}/short"], to=kind)
    yield helper.make_node("Cast", [f"{result}/short"], [result], to=TensorProto.FLOAT)
