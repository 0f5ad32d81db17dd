"""Counts that every table shows, taken from a network in one place so that all agree."""
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

    from ..factorization.layer import Layer


def total_macs(layers: Iterable[Layer]) -> int:
    """Multiply-accumulates of all convolutions and dense layers in one run (of the whole batch)."""
    return sum(layer.macs for layer in layers)


def count_params(model: onnx.ModelProto) -> int:
    """Floating-point constants of a network, biases included."""
    import onnx

    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    return sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in model.graph.initializer if tensor.data_type in floats)
