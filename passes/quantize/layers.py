"""The layers of a graph that can be quantized: their weights as rows, one for each output channel."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from ...factorization import Layer
from .graph import Graph, attributes

LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class QuantizableLayer:
    """A convolution or dense layer with a constant weight.

    Attributes
    ----------
    name : str
        Of its node.
    op_type : str
        Of `LAYERS`.
    input, output : str
        The values that it reads and makes.
    weight : str
        The constant.
    bias : str or None
        The constant, (F,) or with one element for all.
    axis : int
        Of the weight: its output channels.
    groups : int
    """

    name: str
    op_type: str
    input: str
    output: str
    weight: str
    bias: str | None
    axis: int
    groups: int = 1

    @property
    def takes_bias(self) -> bool:
        """Whether a bias can be given to it where it has none."""
        return self.op_type != "MatMul"

    def rows(self, weight: np.ndarray) -> np.ndarray:
        """The weight as (F, D)."""
        first = np.moveaxis(weight, self.axis, 0)
        return first.reshape(len(first), -1)

    def weight_of(self, rows: np.ndarray, like: np.ndarray) -> np.ndarray:
        """The weight, in the shape of `like`, of rows."""
        shape = np.moveaxis(like, self.axis, 0).shape
        return np.ascontiguousarray(np.moveaxis(rows.reshape(shape), 0, self.axis))


def find_layers(graph: Graph) -> tuple[dict[str, QuantizableLayer], dict[str, str]]:
    """The layers that can be quantized, in order, and of the others why not; both by name."""
    found: dict[str, QuantizableLayer] = {}
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type in LAYERS:
            reason = _reason(graph, node)
            if reason is None:
                found[node.name] = _layer(graph, node)
            else:
                reasons[node.name] = reason
    return found, reasons


def _reason(graph: Graph, node: onnx.NodeProto) -> str | None:
    """Why a layer can't be quantized."""
    weight = graph.constant(node.input[1])
    if weight is None:
        return "its weight is no constant"
    if weight.dtype != np.float32 or not graph.is_float(node.input[0]):
        return f"it is of {weight.dtype}, not float32"
    if not np.isfinite(weight).all():
        return "its weight has NaN or infinity"
    options = attributes(node)
    if node.op_type == "MatMul":
        return None if weight.ndim == 2 else "its weight is no matrix"
    if node.op_type == "Gemm" and (options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0):
        return "it has alpha, beta or transA"
    if len(node.input) < 3 or not node.input[2]:
        return None
    bias, outputs = graph.constant(node.input[2]), weight.shape[_axis(node)]
    if bias is None:
        return "its bias is no constant"
    return None if bias.size in (1, outputs) and np.isfinite(bias).all() else "its bias is not one number for each output"


def _axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    return 0 if attributes(node).get("transB", 0) else 1


def _layer(graph: Graph, node: onnx.NodeProto) -> QuantizableLayer:
    bias = node.input[2] if node.op_type != "MatMul" and len(node.input) > 2 and node.input[2] else None
    groups = attributes(node).get("group", 1)
    return QuantizableLayer(node.name, node.op_type, node.input[0], node.output[0], node.input[1], bias, _axis(node), groups)


def as_layer(graph: Graph, layer: QuantizableLayer) -> Layer | None:
    """What is needed to take the patches of a layer's input; None for convolutions of other than images, and unknown shapes."""
    weight, source, made = graph.constant(layer.weight), graph.shape(layer.input), graph.shape(layer.output)
    if weight is None or source is None or made is None:
        return None
    if layer.op_type != "Conv":
        rows = int(np.prod(source[:-1]))
        return Layer(layer.name, "dense", layer.rows(weight).shape, batch=rows)
    options = attributes(graph.makers[layer.output])
    if weight.ndim != 4 or options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return None
    return Layer(
        layer.name, "conv2d", weight.shape, options.get("strides", (1, 1)), options.get("pads", (0, 0, 0, 0)),
        options.get("dilations", (1, 1)), layer.groups, (source[2], source[3]), (made[2], made[3]), source[0],
    )  # fmt: skip
