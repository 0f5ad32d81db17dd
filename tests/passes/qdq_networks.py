"""QDQ networks, written node by node, and ONNX Runtime's results of them."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper


@dataclass
class Quantized:
    """A QDQ network, written node by node.

    Attributes
    ----------
    dtype : numpy dtype
        Of activations.
    """

    dtype: Any = np.uint8
    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def constant(self, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), f"k{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], f"n{len(self.nodes)}", **attributes))
        return name

    def through(self, value: str, scale: float, zero: int = 0) -> str:
        """A value rounded to bytes and back."""
        scale_name, zero_name = self.constant(np.float32(scale)), self.constant(np.asarray(zero, self.dtype))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", value, scale_name, zero_name), scale_name, zero_name)

    def weight(self, shape: Sequence[int], by_channel: bool = True) -> str:
        integers = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = self.rng.uniform(0.001, 0.01, shape[0] if by_channel else ()).astype(np.float32)
        arguments = [self.constant(each) for each in (integers, scale, np.zeros(scale.shape, np.int8))]
        return self.node("DequantizeLinear", *arguments, axis=0)

    def bias(self, filters: int) -> str:
        integers, scale = self.rng.integers(-2000, 2000, filters).astype(np.int32), np.full(filters, 1e-4, np.float32)
        arguments = [self.constant(each) for each in (integers, scale, np.zeros(filters, np.int32))]
        return self.node("DequantizeLinear", *arguments, axis=0)

    def model(self, shape: Sequence[int], output: str) -> onnx.ModelProto:
        self.node("Identity", output)
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes, "quantized", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model)


def in_onnxruntime(model: onnx.ModelProto, x: np.ndarray, integers: bool) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "0" if integers else "1")
    options.add_session_config_entry("session.x64quantprecision", "1")  # no saturating sums where there is no VNNI
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def block(signed: bool) -> tuple[onnx.ModelProto, float]:
    """Everything at once: a depthwise layer, a residual, pools, a concatenation of two scales, averages, a flatten, a dense layer."""
    net = Quantized(np.int8 if signed else np.uint8)
    low, middle = (-128, 5) if signed else (0, 130)
    x = net.through("x", 0.03, middle)
    a = net.through(net.node("Relu", net.node("Conv", x, net.weight((16, 8, 1, 1)), net.bias(16))), 0.05, low)
    depth = net.node("Conv", a, net.weight((16, 1, 3, 3)), net.bias(16), kernel_shape=[3, 3], pads=[1] * 4, group=16)
    b = net.through(net.node("Relu", depth), 0.04, low)
    c = net.through(net.node("Conv", b, net.weight((16, 16, 1, 1)), net.bias(16)), 0.06, middle)
    d = net.through(net.node("Relu", net.node("Add", c, a)), 0.07, low)
    e = net.through(net.node("MaxPool", d, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 0.07, low)
    f = net.through(net.node("AveragePool", d, kernel_shape=[2, 2], strides=[2, 2]), 0.05, low)
    g = net.through(net.node("Concat", e, f, axis=1), 0.07, low)
    h = net.through(net.node("GlobalAveragePool", g), 0.03, low)
    flat = net.through(net.node("Flatten", h), 0.03, low)
    y = net.node("Gemm", flat, net.weight((10, 32)), net.bias(10), transB=1)
    return net.model((1, 8, 12, 12), net.through(y, 0.02, middle)), 0.02
