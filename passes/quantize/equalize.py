"""Cross-layer equalization: channels between two layers are scaled so that both layers' weights have like ranges (Nagel et al. 2019, 4.1).

    y = W2 relu(W1 x + b1)   ->   y = (W2 S) relu(S^-1 W1 x + S^-1 b1)      S = diag(sqrt(r1 / r2)), r the ranges of the channel's weights

It is exact for whatever is positively homogeneous and works channel by channel: ReLU, leaky ReLU, pools, flattening.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from .graph import Graph, attributes
from .layers import QuantizableLayer, find_layers

ROUNDS = 40  # at the most; a chain of layers converges
CONVERGED = 1e-3  # how far from 1 all scales then are
LARGEST = 1e4  # of a scale: a channel of tiny weights is noise
CHANNEL_BY_CHANNEL = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Identity", "Squeeze")


@dataclass(frozen=True)
class Pair:
    """Two layers, the second the only reader of the first, with nothing in between but what works channel by channel."""

    first: QuantizableLayer
    second: QuantizableLayer
    repeat: int  # inputs of the second layer for each output channel of the first


def equalize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """Scale the channels between layers.

    Parameters
    ----------
    model : onnx.ModelProto
        Prepared. Not modified.

    Returns
    -------
    onnx.ModelProto
        It computes the same, but for rounding of float32.
    int
        Between how many pairs of layers.
    """
    graph = Graph(model)
    pairs = pairs_of(graph)
    arrays = constants_of(graph, pairs)
    for _ in range(ROUNDS):
        if max((_scale(pair, arrays) for pair in pairs), default=0.0) < CONVERGED:
            break
    put_constants(graph, arrays)
    return graph.model, len(pairs)


def constants_of(graph: Graph, pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    """Weights and biases of pairs, as float64."""
    names = {name for pair in pairs for layer in (pair.first, pair.second) for name in (layer.weight, layer.bias) if name}
    return {name: constant_of(graph, name).astype(np.float64) for name in names}


def put_constants(graph: Graph, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what `constants_of` gave back, as float32."""
    for name, array in arrays.items():
        graph.set_constant(name, array.astype(np.float32))


def pairs_of(graph: Graph) -> list[Pair]:
    """All pairs, in order."""
    layers, _ = find_layers(graph)
    return [pair for layer in layers.values() if (pair := _pair(graph, layer, layers)) is not None]


def constant_of(graph: Graph, name: str) -> np.ndarray:
    """The value of a constant of a layer."""
    array = graph.constant(name)
    assert array is not None  # a layer's constants are
    return array


def _scale(pair: Pair, arrays: dict[str, np.ndarray]) -> float:
    """Scale the channels of one pair; how far from 1 the largest scale was."""
    first, second = pair.first, pair.second
    rows = first.rows(arrays[first.weight])
    columns = columns_of(second, arrays[second.weight])
    r1, r2 = np.abs(rows).max(axis=1), np.abs(columns).max(axis=1).reshape(-1, pair.repeat).max(axis=1)
    scales = np.ones(len(r1))
    there = (r1 > 0) & (r2 > 0)
    scales[there] = np.clip(np.sqrt(r1[there] / r2[there]), 1 / LARGEST, LARGEST)
    arrays[first.weight] = first.weight_of(rows / scales[:, None], arrays[first.weight])
    if first.bias is not None:
        bias = arrays[first.bias]
        arrays[first.bias] = (np.broadcast_to(bias.reshape(-1), (len(scales),)) / scales).reshape(bias.shape if bias.size > 1 else -1)
    arrays[second.weight] = with_columns(second, columns * np.repeat(scales, pair.repeat)[:, None], arrays[second.weight])
    return float(np.abs(scales - 1).max())


def columns_of(layer: QuantizableLayer, weight: np.ndarray) -> np.ndarray:
    """The weights of each input channel: (C, ...)."""
    if layer.op_type != "Conv":
        return weight if layer.axis == 1 else weight.T
    grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])  # G, F / G, C / G, taps
    first = np.moveaxis(grouped, 2, 1)
    return first.reshape(first.shape[0] * first.shape[1], -1)


def with_columns(layer: QuantizableLayer, columns: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The weight, in the shape of `like`, of `_columns`."""
    if layer.op_type != "Conv":
        return columns if layer.axis == 1 else np.ascontiguousarray(columns.T)
    grouped = columns.reshape(layer.groups, like.shape[1], like.shape[0] // layer.groups, *like.shape[2:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, 2).reshape(like.shape))


def _pair(graph: Graph, layer: QuantizableLayer, layers: dict[str, QuantizableLayer]) -> Pair | None:
    """The layer and the only one that reads it, with nothing but channel-wise operators in between."""
    shape = graph.shape(layer.output)
    if shape is None or len(shape) < 2 or layer.op_type == "MatMul" and len(shape) > 2:
        return None
    channels, value = shape[1], layer.output
    while (reader := graph.sole_reader(value)) is not None:
        if reader.op_type in ("Conv", "Gemm", "MatMul"):
            second = layers.get(reader.name)
            if second is None or second.input != value:
                return None
            inputs = len(columns_of(second, constant_of(graph, second.weight)))
            return None if inputs % channels else Pair(layer, second, inputs // channels)
        if not _keeps_channels(graph, reader, value, channels):
            return None
        value = reader.output[0]
    return None


def _keeps_channels(graph: Graph, node: onnx.NodeProto, value: str, channels: int) -> bool:
    """Whether an operator works channel by channel, with the channels on axis 1, or as equal runs of it, before and after."""
    before, after = graph.shape(value), graph.shape(node.output[0])
    if node.op_type not in CHANNEL_BY_CHANNEL or node.input[0] != value or before is None or after is None or len(after) < 2:
        return False
    if node.op_type == "LeakyRelu":
        return bool(attributes(node).get("alpha", 0.01) >= 0)
    if node.op_type in ("Flatten", "Reshape", "Squeeze"):
        if len(after) == 2:
            return after[0] == before[0] and after[1] % channels == 0
        return after[:2] == before[:2]
    return len(node.output) == 1
