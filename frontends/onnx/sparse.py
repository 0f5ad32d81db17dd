"""Sparse initializers written out as plain ones: every engine here computes with dense weights."""
from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ...support.errors import TenfoldError
from ...support.files.regular import LARGEST_MESSAGE
from .tensors import bytes_of, count_of


def with_dense_weights(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model without sparse initializers; the model itself where it has none.

    Parameters
    ----------
    proto : onnx.ModelProto
        Checked by the gate. Not modified. Indices are one number for each value, or one for each of its axes (SparseTensorProto).
    name : str
        What errors call the model.

    Raises
    ------
    TenfoldError
        Written out, they are larger than a network may be.
    """
    if not proto.graph.sparse_initializer:
        return proto
    if sum(bytes_of(sparse.values.data_type, count_of(sparse.dims)) for sparse in proto.graph.sparse_initializer) > LARGEST_MESSAGE:
        raise TenfoldError(f"{name}: its sparse weights, written out, are larger than 2 GiB, the most that a network may have here")
    dense = onnx.ModelProto()
    dense.CopyFrom(proto)
    for sparse in dense.graph.sparse_initializer:
        dense.graph.initializer.append(numpy_helper.from_array(_dense(sparse), sparse.values.name))
    del dense.graph.sparse_initializer[:]
    return dense


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if places.ndim == 1:
        array.reshape(-1)[places] = values
    else:
        array[tuple(places.T)] = values
    return array
