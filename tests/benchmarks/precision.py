"""Layers of bytes against the same layers in float32: a QDQ model of each shape, as quantizers write them, and the float32 model beside it.

A rival computes the QDQ model as it does by default: ONNX Runtime with its integer kernels.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod, sqrt
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from shapes import Shape
from suite import Case, Settings, Suite, Table
from table import OURS, TITLES, engines, measured
from tenfold.runner.report import count, milliseconds
from timed import OPTIONS, Timed

# Of ResNet-50 and MobileNet-v2: channels, filters, size, kernel, stride, groups.
SHAPES = [
    Shape(64, 256, 56, 1, 1, 0, 1), Shape(256, 256, 14, 1, 1, 0, 1), Shape(512, 2048, 7, 1, 1, 0, 1),
    Shape(64, 64, 56, 3, 1, 1, 1), Shape(128, 128, 28, 3, 1, 1, 1), Shape(512, 512, 7, 3, 1, 1, 1), Shape(3, 64, 224, 7, 2, 3, 1),
    Shape(144, 144, 56, 3, 1, 1, 144), Shape(576, 576, 14, 3, 1, 1, 576),
]
DENSE = [(1, 2048, 1000), (64, 768, 768)]  # rows, channels, filters
X_SCALE, WEIGHT_SCALE, ZERO = np.float32(0.02), np.float32(0.01), np.uint8(128)


def cases(settings: Settings) -> list[Case]:
    """Every shape, in int8 and in float32."""
    found = [Case(shape.name, _pair(lambda quantized, s=shape: _convolution(s, quantized)), (), {"batch": 1}) for shape in SHAPES]
    found += [Case("dense {} x {} -> {}".format(*sizes), _pair(lambda quantized, sizes=sizes: _dense(*sizes, quantized)), (), {"batch": 1})
              for sizes in DENSE]
    return found


def _pair(make: Callable[[bool], onnx.ModelProto]) -> dict[str, Callable[[Path], Path]]:
    return {name: partial(_write, make, name == "int8") for name in ("int8", "float32")}


def float32_convolution(shape: Shape, folder: Path) -> Path:
    """Write a layer in float32."""
    return _write(lambda quantized: _convolution(shape, quantized), False, folder)


def float32_dense(sizes: tuple[int, int, int], folder: Path) -> Path:
    """Write a fully connected layer in float32: rows, channels, filters."""
    return _write(lambda quantized: _dense(*sizes, quantized), False, folder)


def _write(make: Callable[[bool], onnx.ModelProto], quantized: bool, folder: Path) -> Path:
    onnx.save(make(quantized), folder / "layer.onnx")
    return folder / "layer.onnx"


def _convolution(shape: Shape, quantized: bool) -> onnx.ModelProto:
    [stage] = shape.stages()
    options = {"strides": stage.stride, "pads": stage.padding, "dilations": stage.dilation, "group": stage.groups}
    # The pool: inside a network no engine turns the output of a convolution back to NCHW, and here none has to.
    return _layer("Conv", stage.weight.shape, [1, stage.in_channels, shape.size, shape.size], options, quantized, pools=True)


def _dense(rows: int, channels: int, filters: int, quantized: bool) -> onnx.ModelProto:
    return _layer("Gemm", (filters, channels), [rows, channels], {"transB": 1}, quantized, pools=False)


def _layer(operator: str, weight: tuple[int, ...], data: list[int], options: dict[str, Any], quantized: bool,
           pools: bool) -> onnx.ModelProto:
    """A layer with bias and ReLU. Quantized: from bytes to bytes, weights by filter."""
    rng, filters = np.random.default_rng(0), weight[0]
    integers, whole_bias = rng.integers(-127, 128, weight).astype(np.int8), rng.integers(-1000, 1000, filters).astype(np.int32)
    steps = np.full(filters, WEIGHT_SCALE)
    y_scale = np.float32(X_SCALE * WEIGHT_SCALE * 74 * 74 * sqrt(prod(weight[1:])) * 4 / 255)  # uniform bytes deviate by 74: four of these
    constants: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def node(op_type: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        names = []
        for value in inputs:
            name = value if isinstance(value, str) else f"k{len(constants)}"
            if not isinstance(value, str):
                constants[name] = value
            names.append(name)
        nodes.append(helper.make_node(op_type, names, [f"v{len(nodes)}"], f"n{len(nodes)}", **attributes))
        return f"v{len(nodes) - 1}"

    def through_bytes(value: str) -> str:
        return node("DequantizeLinear", node("QuantizeLinear", value, y_scale, ZERO), y_scale, ZERO)

    if quantized:
        x = node("DequantizeLinear", "x", X_SCALE, ZERO)
        w = node("DequantizeLinear", integers, steps, np.zeros(filters, np.int8), axis=0)
        b = node("DequantizeLinear", whole_bias, X_SCALE * steps, np.zeros(filters, np.int32), axis=0)
        y = through_bytes(node("Relu", node(operator, x, w, b, **options)))
        y = through_bytes(node("GlobalAveragePool", y)) if pools else y
    else:
        y = node("Relu", node(operator, "x", integers * WEIGHT_SCALE, whole_bias.astype(np.float32) * (X_SCALE * WEIGHT_SCALE), **options))
        y = node("GlobalAveragePool", y) if pools else y
    nodes[-1].output[0] = "y"
    kind = TensorProto.UINT8 if quantized else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "layer", [helper.make_tensor_value_info("x", kind, data)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()])
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def table(result: dict[str, Any]) -> Table:
    """One line for each shape: our int8 against a rival's and against our float32."""
    names = [name for name in engines(result) if any(name in row["models"]["int8"]["ms"] for row in measured(result))]
    headings = ["", "MACs", *(f"{TITLES[name]} int8, ms" for name in names), f"{TITLES[OURS]} float32, ms", "against best rival"]
    headings += ["against our float32", "kernels alone", "GMAC/s, kernels alone"]
    rows = []
    for row in measured(result):
        found, wide = row["models"]["int8"], row["models"]["float32"]
        cells = [row["name"], count(found["macs"])]
        cells += [milliseconds(found["ms"][name]) if name in found["ms"] else "-" for name in names]
        cells += [milliseconds(wide["ms"][OURS]), "-" if found["ratio"] is None else f"{found['ratio']:.2f} x"]
        cells += [f"{wide['ms'][OURS] / found['ms'][OURS]:.2f} x", f"{wide['kernels_ms'] / found['kernels_ms']:.2f} x"]
        rows.append([*cells, f"{found['macs'] / found['kernels_ms'] / 1e6:.0f}"])
    return headings, rows


def mean(result: dict[str, Any]) -> str:
    """The geometric means of the ratios."""
    rows = [row["models"] for row in measured(result)]
    gains = [models["float32"]["ms"][OURS] / models["int8"]["ms"][OURS] for models in rows]
    ratios = [models["int8"]["ratio"] for models in rows if models["int8"]["ratio"]]
    said = [f"against our float32 {geometric_mean(gains):.2f} x"] if gains else []
    said += [f"against the best rival's int8 {geometric_mean(ratios):.2f} x"] if ratios else []
    return "geometric means: " + ", ".join(said) if said else ""


SUITE = Suite(cases, Timed, table, mean, OPTIONS)
