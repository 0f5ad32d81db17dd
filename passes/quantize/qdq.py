"""The graph with quantizers: QuantizeLinear and DequantizeLinear around what is computed in integers, as engines fuse them.

    Conv(x, W, b) -> Relu     ->   Conv(DQ(Q(x)), DQ(W8), DQ(b32)) -> Relu -> Q -> DQ

The steps of a bias are those of the products: the step of the input times that of the weight.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ...quantization import Quantizer
from .graph import Graph, inferred
from .layers import QuantizableLayer
from .placement import Placement

OLDEST_OPSET = 13  # the first whose DequantizeLinear has an axis


@dataclass(frozen=True)
class QuantizedWeight:
    """The constants of a layer.

    Attributes
    ----------
    weight : ndarray
        int8, in the shape of the layer's own.
    scales : ndarray
        (F,) or, with one step for all, (); float32.
    bias : ndarray or None
        (F,), int32, in steps of the input's times the weight's.
    """

    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray | None


def quantize_onnx(
    model: onnx.ModelProto, placement: Placement, quantizers: Mapping[str, Quantizer], weights: Mapping[str, QuantizedWeight]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Put quantizers into a graph.

    Parameters
    ----------
    model : onnx.ModelProto
        What the placement was made for. Not modified.
    placement : Placement
    quantizers : mapping of str to Quantizer
        For each value of the placement.
    weights : mapping of str to QuantizedWeight
        For each of its layers.

    Returns
    -------
    onnx.ModelProto
        Inputs and outputs are those of `model`, and so are the names of layers.
    dict of str to str
        The name of each rounded value, as floats.
    """
    writer = _Writer(Graph(model), placement, quantizers)
    nodes = [node for value in model.graph.input if value.name in placement.values for node in writer.rounding(value.name, value.name)]
    for node in writer.graph.nodes:
        if node.name in placement.layers and node.output[0] == placement.layers[node.name].output:
            nodes += writer.constants(node, placement.layers[node.name], weights[node.name])
        writer.read_rounded(node)
        nodes.append(node)
        for number, name in enumerate(node.output):
            if name in placement.values:
                made = name
                if name in writer.graph.outputs and name in placement.integer:  # what is returned is rounded too
                    made = node.output[number] = writer.graph.unique(f"{name}.float")
                nodes += writer.rounding(name, made)
    writer.graph.set_nodes(nodes)
    writer.graph.forget_unread()
    return inferred(writer.graph.model), dict(writer.rounded)


class _Writer:
    def __init__(self, graph: Graph, placement: Placement, quantizers: Mapping[str, Quantizer]) -> None:
        self.graph = graph
        self.rounded: dict[str, str] = {}
        self._placement, self._quantizers = placement, quantizers
        self._steps: dict[Quantizer, tuple[str, str]] = {}

    def rounding(self, name: str, made: str) -> list[onnx.NodeProto]:
        """The pair behind a value, which its maker now calls `made`."""
        graph, quantizer = self.graph, self._quantizers[name]
        if quantizer not in self._steps:
            scale = graph.add_constant(f"{name}.scale", np.float32(quantizer.scale))
            self._steps[quantizer] = scale, graph.add_constant(f"{name}.zero_point", np.array(quantizer.zero_point, quantizer.dtype))
        steps, whole = self._steps[quantizer], graph.unique(f"{name}.quantized")
        floats = name if made != name else graph.unique(f"{name}.dequantized")
        self.rounded[name] = floats
        return [
            helper.make_node("QuantizeLinear", [made, *steps], [whole], name=graph.unique(f"{name}.quantize")),
            helper.make_node("DequantizeLinear", [whole, *steps], [floats], name=graph.unique(f"{name}.dequantize")),
        ]

    def constants(self, node: onnx.NodeProto, layer: QuantizableLayer, quantized: QuantizedWeight) -> list[onnx.NodeProto]:
        """The weight and the bias of a layer, behind their dequantizers."""
        scales = np.asarray(quantized.scales, np.float32)
        step = np.float32(self._quantizers[layer.input].scale)
        nodes = [self._constant(node, 1, f"{layer.weight}", quantized.weight, scales, layer.axis)]
        if quantized.bias is not None:
            if len(node.input) < 3:
                node.input.append("")
            nodes.append(self._constant(node, 2, layer.bias or f"{layer.name}.bias", quantized.bias, step * scales, 0))
        return nodes

    def _constant(
        self, node: onnx.NodeProto, position: int, name: str, array: np.ndarray, scales: np.ndarray, axis: int
    ) -> onnx.NodeProto:
        graph = self.graph
        names = [graph.add_constant(f"{name}.quantized", array), graph.add_constant(f"{name}.scale", scales)]
        names.append(graph.add_constant(f"{name}.zero_point", np.zeros(scales.shape, array.dtype)))
        node.input[position] = graph.unique(f"{name}.dequantized")
        made = helper.make_node("DequantizeLinear", names, [node.input[position]], name=graph.unique(f"{name}.dequantize"))
        if scales.ndim:
            made.attribute.append(helper.make_attribute("axis", axis))
        return made

    def read_rounded(self, node: onnx.NodeProto) -> None:
        """Let a node read rounded values: operators in integers all of them, others those that exist in no other form."""
        integer = bool(node.output) and node.output[0] in self._placement.active
        for position, name in enumerate(node.input):
            if name in self.rounded and (integer or name in self._placement.integer):
                node.input[position] = self.rounded[name]
