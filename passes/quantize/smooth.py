"""Channels between two layers are scaled so that they have like ranges on real images, as far as the weights behind them allow it.

    y = W2 relu(W1 x + b1)   ->   y = (W2 S) relu(S^-1 W1 x + S^-1 b1)      S = diag(sqrt(a / r))

a is the largest magnitude of a channel on images, r the root mean square of its weights in W2, each over the largest of its filter (as in
SmoothQuant, Xiao et al. 2023, with the half). What W1 is does not matter: each of its filters has a step of its own, which takes S^-1 up
whole. Where the second layer is depthwise its filters take up S too: S = diag(a), and all channels fill the bytes. Between the stages of
a factored layer, whose channels differ by much, this is what keeps them apart from noise.

It is exact for whatever is positively homogeneous and works channel by channel, as `equalize` is, which is for weights of one step.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from .equalize import LARGEST, Pair, columns_of, constants_of, pairs_of, put_constants, with_columns
from .graph import Graph


def smooth(model: onnx.ModelProto, peaks: Mapping[str, np.ndarray]) -> tuple[onnx.ModelProto, int]:
    """Scale the channels between layers.

    Parameters
    ----------
    model : onnx.ModelProto
        Prepared. Not modified.
    peaks : mapping of str to ndarray
        Of the values of `smoothed_values`: the largest magnitude of each channel on some images.

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
    for pair in pairs:
        _scale(pair, arrays, peaks[pair.second.input])
    put_constants(graph, arrays)
    return graph.model, len(pairs)


def smoothed_values(model: onnx.ModelProto) -> list[str]:
    """The values whose peaks `smooth` needs: what the second layer of each pair reads."""
    return list(dict.fromkeys(pair.second.input for pair in pairs_of(Graph(model))))


def _scale(pair: Pair, arrays: dict[str, np.ndarray], peaks: np.ndarray) -> None:
    first, second = pair.first, pair.second
    a = peaks.astype(np.float64).reshape(-1, pair.repeat).max(axis=1)
    weight = arrays[second.weight]
    rows = second.rows(weight)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    shares = columns_of(second, second.weight_of(rows / np.where(largest > 0, largest, 1), weight)).reshape(len(a), -1)
    r = np.sqrt(np.square(shares).mean(axis=1))
    depthwise = second.op_type == "Conv" and second.groups > 1 and weight.shape[1] == 1
    there = (a > 0) & (r > 0)
    if not there.any():
        return
    scales = np.ones(len(a))
    scales[there] = a[there] if depthwise else np.sqrt(a[there] / r[there])
    scales = np.where(there, np.clip(scales / np.exp(np.log(scales[there]).mean()), 1 / LARGEST, LARGEST), 1.0)
    arrays[first.weight] = first.weight_of(first.rows(arrays[first.weight]) / scales[:, None], arrays[first.weight])
    if first.bias is not None:
        arrays[first.bias] = np.broadcast_to(arrays[first.bias].reshape(-1), (len(scales),)) / scales
    scaled = columns_of(second, weight) * np.repeat(scales, pair.repeat)[:, None]
    arrays[second.weight] = with_columns(second, scaled, weight)
