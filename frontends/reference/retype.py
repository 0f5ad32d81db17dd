"""A copy of a model in which every floating-point value has one type."""
from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from .precision import FLOATS

# Attributes that name the type of a result.
TYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype", "RandomNormal": "dtype", "RandomUniform": "dtype", "RandomNormalLike": "dtype"}


def retyped(model: onnx.ModelProto, to: int) -> onnx.ModelProto:
    """The model with its float16, bfloat16, float32 and float64 values, weights, inputs and outputs in type `to`.

    Parameters
    ----------
    model : onnx.ModelProto
        Without functions of its own. It is only read.
    to : int
        Such as ``TensorProto.DOUBLE``.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _graph(copy.graph, to)
    return copy


def cast_like(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` in `dtype` where it is of a floating-point type; anything else as it is."""
    return array.astype(dtype) if is_float(array) else array


def is_float(array: np.ndarray) -> bool:
    """Whether an array is of one of the types that `retyped` changes. To NumPy, bfloat16 is no kind of float."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _graph(graph: onnx.GraphProto, to: int) -> None:
    for tensor in graph.initializer:
        _tensor(tensor, to)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = to
    for node in graph.node:
        for attribute in node.attribute:
            _attribute(node, attribute, to)


def _attribute(node: onnx.NodeProto, attribute: AttributeProto, to: int) -> None:
    if attribute.type == AttributeProto.TENSOR:
        _tensor(attribute.t, to)
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        value = np.asarray(helper.get_attribute_value(attribute), helper.tensor_dtype_to_np_dtype(to))
        attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(value)))
    elif attribute.name == TYPE_ATTRIBUTES.get(node.op_type) and attribute.i in FLOATS:
        attribute.i = to
    elif attribute.type == AttributeProto.GRAPH:
        _graph(attribute.g, to)


def _tensor(tensor: TensorProto, to: int) -> None:
    if tensor.data_type in FLOATS and tensor.data_type != to:
        array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(to))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
