"""ONNX files of single layers and of chains, with random weights."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tenfold.factorization import Stage


def chain_model(stages: Sequence[Stage], size: int, batch: int = 1, biases: bool = False) -> onnx.ModelProto:
    """A chain of convolutions on images of size x size pixels, a bias on the last or on each, and ReLU.

    A global average pool follows: inside a network no engine turns the output of a convolution back to NCHW, and here none has to.
    Only the shapes of the stages' weights count; an `input_permutation` is left out.
    """
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for i, stage in enumerate(stages):
        bias = biases or i == len(stages) - 1
        # He et al. (2015): values keep their size from stage to stage, so that errors are seen.
        weight = rng.standard_normal(stage.weight.shape, "float32") * np.float32(np.sqrt(2 / np.prod(stage.weight.shape[1:])))
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        if bias:
            weights.append(numpy_helper.from_array(rng.standard_normal(stage.out_channels, "float32"), f"b{i}"))
        nodes.append(helper.make_node("Conv", [value, f"w{i}", *[f"b{i}"] * bias], [f"c{i}"], f"conv{i}", strides=stage.stride,
                                      pads=stage.padding, dilations=stage.dilation, group=stage.groups))
        value = f"c{i}"
    nodes += [helper.make_node("Relu", [value], ["r"], "relu"), helper.make_node("GlobalAveragePool", ["r"], ["y"], "pool")]
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, stages[0].in_channels, size, size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, stages[-1].out_channels, 1, 1])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def stage(filters: int, channels: int, kernel: tuple[int, int], stride: int = 1, padding: Sequence[int] | None = None,
          groups: int = 1) -> Stage:
    """A stage of zero weights that take no memory, padded by half a kernel. `channels`: all of the input's."""
    y, x = kernel
    weight = np.broadcast_to(np.float32(0), (filters, channels // groups, y, x))
    pads = (y // 2, x // 2, y // 2, x // 2) if padding is None else tuple(padding)
    return Stage(weight, stride=(stride, stride), padding=pads, groups=groups)


def flattened(channels: int, filters: int, kernel: int, sets: int = 2) -> list[Stage]:
    """Jin et al. (2015), figure 2: `sets` times a lateral (pointwise), a vertical and a horizontal (depthwise) convolution."""
    stages = []
    for _ in range(sets):
        stages += [stage(filters, channels, (1, 1)), stage(filters, filters, (kernel, 1), groups=filters),
                   stage(filters, filters, (1, kernel), groups=filters)]
        channels = filters
    return stages
