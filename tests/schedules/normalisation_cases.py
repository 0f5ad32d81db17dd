"""Small networks around one normalisation or reduction, as exporters write them: what a property test draws from."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tenfold.frontends import Network, load


@dataclass
class Graph:
    """Nodes and constants in the making; each method returns the name of a result."""

    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def op(self, name: str, *inputs: str, **attributes) -> str:
        result = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(name, list(inputs), [result], f"n{len(self.nodes)}", **attributes))
        return result

    def constant(self, value) -> str:
        array = np.asarray(value)
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array.astype("float32") if array.dtype == "float64" else array, name))
        return name

    def noise(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(max(1, prod(shape[1:]))))

    def network(self, shape: Sequence[int], result: str) -> Network:
        output = self.op("Identity", result)
        graph = helper.make_graph(self.nodes, "g", [helper.make_tensor_value_info("x", 1, shape)],
                                  [helper.make_tensor_value_info(output, 1, None)], self.constants)
        return load(onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)))


def conv_behind(g: Graph, x: str, shape: Sequence[int], last: bool) -> tuple[str, tuple[int, ...]]:
    """A convolution of x, (N, C, H, W), its result permuted to (N, H, W, C) if `last`."""
    y = g.op("Conv", x, g.noise(shape[1], shape[1], 3, 3), g.noise(shape[1]), pads=[1] * 4)
    return (g.op("Transpose", y, perm=[0, 2, 3, 1]), (shape[0], *shape[2:], shape[1])) if last else (y, tuple(shape))


def standardised(g: Graph, x: str, axes: Sequence[int]) -> str:
    """(x - mean) / sqrt(variance + e), operator by operator."""
    which = g.constant(np.array(axes))
    centred = g.op("Sub", x, g.op("ReduceMean", x, which))
    variance = g.op("ReduceMean", g.op("Pow", centred, g.constant(2.0)), which)
    return g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.constant(1e-5))))


def root_mean_square(g: Graph, x: str, axes: Sequence[int]) -> str:
    mean = g.op("ReduceMean", g.op("Mul", x, x), g.constant(np.array(axes)))
    return g.op("Mul", x, g.op("Reciprocal", g.op("Sqrt", g.op("Add", mean, g.constant(1e-6)))))


def unit_length(g: Graph, x: str, axes: Sequence[int]) -> str:
    return g.op("Div", x, g.op("ReduceL2", x, g.constant(np.array(axes))))


def softmax(g: Graph, x: str, axes: Sequence[int]) -> str:
    return g.op("Softmax", x, axis=axes[-1])


def layer(g: Graph, x: str, shape: Sequence[int]) -> str:
    return g.op("LayerNormalization", x, g.noise(shape[-1]), g.noise(shape[-1]), axis=-1)


def instance(g: Graph, x: str, shape: Sequence[int]) -> str:
    return g.op("InstanceNormalization", x, g.noise(shape[1]), g.noise(shape[1]))


def group(g: Graph, x: str, shape: Sequence[int], groups: int) -> str:
    """As PyTorch exports it."""
    flat = g.op("Reshape", x, g.constant(np.array([0, groups, -1])))
    normal = g.op("InstanceNormalization", flat, g.constant(np.ones(groups)), g.constant(np.zeros(groups)))
    back = g.op("Reshape", normal, g.op("Shape", x))
    return g.op("Add", g.op("Mul", back, g.noise(shape[1], 1, 1)), g.noise(shape[1], 1, 1))


OVER_AXES = {"standardised": standardised, "root mean square": root_mean_square, "unit length": unit_length, "softmax": softmax}
REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
              "ReduceLogSumExp", "ArgMax", "ArgMin"]


def reduced(g: Graph, x: str, name: str, axes: Sequence[int], keepdims: bool) -> str:
    if name.startswith("Arg"):
        return g.op("Cast", g.op(name, x, axis=axes[0], keepdims=int(keepdims)), to=1)
    return g.op(name, x, g.constant(np.array(axes)), keepdims=int(keepdims))
