"""What the tests of quantization share: a graph quantized with ranges of some random inputs, and its nodes in words."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from tenfold.frontends import load
from tenfold.frontends.reference.graph_activations import GraphActivations
from tenfold.passes.quantize.graph import Graph
from tenfold.passes.quantize.placement import Placement, place
from tenfold.passes.quantize.prepare import prepare
from tenfold.passes.quantize.qdq import QuantizedWeight, quantize_onnx
from tenfold.quantization import Quantizer, round_nearest, weight_scales


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    return prepare(load(model).onnx)


def quantized(
    model: onnx.ModelProto, keep=(), dtype: str = "uint8", per_channel: bool = True, seed: int = 1
) -> tuple[onnx.ModelProto, Placement, dict[str, Quantizer], dict[str, QuantizedWeight], dict[str, str]]:
    """A prepared model, by min and max of one random input and the nearest weights."""
    graph = Graph(model)
    placement = place(graph, keep)
    names = list(dict.fromkeys(placement.values.values()))
    shape = graph.shape(model.graph.input[0].name)
    (values,) = GraphActivations(model, names).batches(random_images(shape, seed))
    own = {name: Quantizer.of_range(values[name].min(), values[name].max(), dtype) for name in names}
    quantizers = {value: own[source] for value, source in placement.values.items()}
    weights = {}
    for name, layer in placement.layers.items():
        rows = layer.rows(graph.constant(layer.weight))
        scales = weight_scales(rows, per_channel)
        bias = None if layer.bias is None else graph.constant(layer.bias).reshape(-1)
        steps = quantizers[layer.input].scale * scales.astype(float)
        whole = None if bias is None else np.rint(np.broadcast_to(bias, scales.shape) / steps).astype(np.int32)
        found = layer.weight_of(round_nearest(rows, scales), graph.constant(layer.weight))
        weights[name] = QuantizedWeight(found, scales if per_channel else scales[0], whole)
    made, rounded = quantize_onnx(model, placement, quantizers, weights)
    onnx.checker.check_model(made, full_check=True)
    return made, placement, quantizers, weights, rounded


def random_images(shape, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def run(model: onnx.ModelProto, x: np.ndarray, fused: bool = False) -> list[np.ndarray]:
    """By ONNX Runtime, with QDQ pairs as they are, or merged to operators in integers."""
    return session(model, fused).run(None, {model.graph.input[0].name: x})


def session(model: onnx.ModelProto, fused: bool, optimized: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "0" if fused else "1")
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized:
        options.optimized_model_filepath = optimized
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def kinds_of_readers(model: onnx.ModelProto) -> list[str]:
    """``Conv(DQ, DQ, DQ)`` for each node but quantizers, with the kinds of nodes that make its inputs; `x` for others."""
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    short = {"QuantizeLinear": "Q", "DequantizeLinear": "DQ"}
    rows = []
    for node in model.graph.node:
        if node.op_type not in short:
            sources = [short.get(makers.get(name, ""), makers.get(name, "x")) for name in node.input]
            rows.append(f"{node.op_type}({', '.join(sources)})")
    return rows
