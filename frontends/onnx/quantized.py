"""Layers that compute in whole numbers, written out as quantizers around layers in float32, which can be listed, factored and compiled.

    QLinearConv, QLinearMatMul     QuantizeLinear(Conv(DequantizeLinear(x), weight, bias))
    ConvInteger, MatMulInteger     Cast(Round(Conv(x - x_zero, weight - weight_zero)))

Sums of products of 8 bits are exact in float32 up to 2^24, and then to half a unit in the last place; what is made of them is rounded to a
step of the output, or scaled, in float32 too.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnxscript import ir

from ...support.errors import TenfoldError

OWN = ("QGemm", "QLinear")  # what names of operators of ONNX Runtime's own begin with
Make = Callable[..., ir.Value]


def refuse_own_operators(model: ir.Model, name: str) -> None:
    """Raise TenfoldError for the quantized operators that ONNX Runtime adds to ONNX's."""
    for node in model.graph.all_nodes():
        if node.domain == "com.microsoft" and node.op_type.startswith(OWN):
            raise TenfoldError(
                f"{name}: operator com.microsoft.{node.op_type} (node {node.name!r}) is ONNX Runtime's own:"
                " quantize the network with quant_format=QuantFormat.QDQ instead"
            )


def drop_detours(model: ir.Model) -> None:
    """Cast(float32) <- Cast(int32) <- Round becomes Round, in place: what is whole need not be an integer in between."""
    for node in list(model.graph.all_nodes()):
        back = _cast_of(node, ir.DataType.FLOAT)
        there = None if back is None else _cast_of(back.producer(), ir.DataType.INT32)
        if there is not None and there.producer() is not None and there.producer().op_type == "Round" and there.dtype == ir.DataType.FLOAT:
            ir.convenience.replace_all_uses_with(node.outputs[0], there)


def _cast_of(node: ir.Node | None, to: ir.DataType) -> ir.Value | None:
    """What a node casts to a type, if that is what it does, and for other nodes alone."""
    if node is None or node.op_type != "Cast" or node.attributes.get_int("to", 0) != to or node.outputs[0].is_graph_output():
        return None
    return node.inputs[0]


def _qlinear_conv(make: Make, node: ir.Node, opset: int) -> ir.Value:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = _padded(node, 9)
    _check_scalar(node, x_scale)
    per_filter = [-1, *[1] * (_rank(w) - 1)]
    weight = make("Mul", _centred(make, w, w_zero, per_filter), make("Reshape", w_scale, per_filter))
    inputs = [make("DequantizeLinear", x, x_scale, *_given(x_zero)), weight]
    if bias is not None:  # whole numbers of steps of x_scale * w_scale
        inputs.append(make("Mul", _cast(make, bias), make("Mul", make("Reshape", x_scale, [-1]), make("Reshape", w_scale, [-1]))))
    return make("QuantizeLinear", _layer(make, "Conv", node, *inputs), y_scale, *_given(y_zero))


def _qlinear_matmul(make: Make, node: ir.Node, opset: int) -> ir.Value:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = _padded(node, 8)
    _check_scalar(node, a_scale)
    _check_scalar(node, y_scale)
    weight = make("Mul", _centred(make, b, b_zero), b_scale)
    product = _layer(make, "MatMul", node, make("DequantizeLinear", a, a_scale, *_given(a_zero)), weight)
    return make("QuantizeLinear", product, y_scale, *_given(y_zero))


def _conv_integer(make: Make, node: ir.Node, opset: int) -> ir.Value:
    x, w, x_zero, w_zero = _padded(node, 4)
    weight = _centred(make, w, w_zero, [-1, *[1] * (_rank(w) - 1)])
    return _cast(make, make("Round", _layer(make, "Conv", node, _centred(make, x, x_zero), weight)), ir.DataType.INT32)


def _matmul_integer(make: Make, node: ir.Node, opset: int) -> ir.Value:
    a, b, a_zero, b_zero = _padded(node, 4)
    rows = [-1, 1] if a_zero is not None and a_zero.shape is not None and len(a_zero.shape) == 1 else None
    product = _layer(make, "MatMul", node, _centred(make, a, a_zero, rows), _centred(make, b, b_zero))
    return _cast(make, make("Round", product), ir.DataType.INT32)


def _rank(weight: ir.Value) -> int:
    assert weight.shape is not None  # shapes have been inferred
    return len(weight.shape)


def _padded(node: ir.Node, count: int) -> list[Any]:
    """The inputs of a node, None for those at the end that it leaves out."""
    return [*node.inputs, *[None] * (count - len(node.inputs))]


def _given(value: ir.Value | None) -> list[ir.Value]:
    return [] if value is None else [value]


def _check_scalar(node: ir.Node, scale: ir.Value) -> None:
    if scale.shape is None or any(size != 1 for size in scale.shape):
        raise TenfoldError(f"operator {node.op_type} (node {node.name!r}) has scales of its own for parts of an activation: not supported")


def _cast(make: Make, x: ir.Value, to: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    value = make("Cast", x)
    value.producer().attributes["to"] = ir.AttrInt64("to", to)
    return value


def _centred(make: Make, x: ir.Value, zero: ir.Value | None, form: list[int] | None = None) -> ir.Value:
    """`x` without its zero point, in float32."""
    if zero is None:
        return _cast(make, x)
    zero = _cast(make, zero)
    return make("Sub", _cast(make, x), zero if form is None else make("Reshape", zero, form))


def _layer(make: Make, op_type: str, node: ir.Node, *inputs: ir.Value) -> ir.Value:
    """The layer itself: it has the name and the attributes of the node."""
    value = make(op_type, *inputs)
    value.producer().name = node.name
    for attribute in node.attributes.values():
        value.producer().attributes[attribute.name] = attribute
    return value


QUANTIZED = {
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_integer,
}
