"""Shapes that do not fit: the first node whose inputs its operator can't take, and why, in onnx's words or in ours."""
from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any

import onnx
from onnxscript import ir

from ...support.errors import TenfoldError
from .initializers import ONNX, is_constant
from .nodes import where_is

Shape = tuple[int, ...]


Rule = Callable[[ir.Node, list[Any], Shape], str | None]  # node; shapes of the inputs, None where one is absent; that of the output


def check_fit(model: ir.Model, name: str, hint: str) -> None:
    """Refuse a graph in which shapes do not fit.

    onnx's shape inference finds most of it. What it lets pass (channels of a convolution, lengths of biases and of the parameters of
    norms, the number of elements of a Reshape) is looked at here.

    Parameters
    ----------
    model : ir.Model
        With inferred shapes.
    name : str
        How messages name it.
    hint : str
        What messages say at the end about the sizes that were chosen for the inputs.

    Raises
    ------
    TenfoldError
        With the node, its operator, the shapes of its inputs, and what does not fit.
    """
    for node in model.graph:
        if node.domain not in ONNX:
            continue
        shapes = [None if value is None else _static(value) for value in node.inputs]
        if any(shape is None and value is not None for shape, value in zip(shapes, node.inputs, strict=True)):
            continue  # what is wrong is before this node, or unknown
        outputs = [_static(value) for value in node.outputs if value.name]
        rule = RULES.get(node.op_type)
        reason = rule(node, [*shapes, None, None], outputs[0] or ()) if rule else None
        if reason is None and None in outputs:
            reason = _inferred(node, model)
        if reason is not None:
            forms = " and ".join(_text(shape) for shape in shapes if shape is not None)
            where = where_is(ir.serde.serialize_node(node))
            raise TenfoldError(f"{name}: {where} can't take inputs of shapes {forms}: {reason}{hint}")


def _static(value: ir.Value) -> Shape | None:
    return tuple(value.shape) if value.shape is not None and value.shape.is_static() else None


def _text(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _inferred(node: ir.Node, model: ir.Model) -> str | None:
    """What onnx's shape inference says against a node, or None."""
    values = [value for value in node.inputs if value is not None]
    if any(value.type is None for value in values):
        return None
    types = {value.name: onnx.helper.make_tensor_type_proto(int(value.dtype), _static(value)) for value in values}
    data = {value.name: ir.serde.serialize_tensor(value.const_value) for value in values if is_constant(value)}
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1))
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
        onnx.shape_inference.infer_node_outputs(schema, ir.serde.serialize_node(node), types, data)
    except Exception as error:  # InferenceError, and what the checker has
        lines = [line for line in str(error).splitlines() if line.strip()]
        text = re.sub(r"^(\s*(\[\w+\]|\(op_type:[^)]*\):?))+\s*", "", lines[0]) if lines else type(error).__name__
        return text.rstrip(".")
    return None


def _broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether a tensor broadcasts to another without that one growing."""
    aligned = (1,) * (len(to) - len(shape)) + shape
    return len(aligned) == len(to) and all(size in (1, whole) for size, whole in zip(aligned, to, strict=True))


def _empty(node: ir.Node, out: Shape) -> str | None:
    return f"the kernel is larger than its input, the output would be of shape {_text(out)}" if out and min(out) < 1 else None


def _convolution(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    x, w, bias = shapes[:3]
    groups, transposed = node.attributes.get_int("group", 1), node.op_type == "ConvTranspose"
    if w is None or len(w) != len(x):
        return f"the weight must have {len(x)} dimensions"
    takes, makes = (w[0], w[1] * groups) if transposed else (w[1] * groups, w[0])
    kernel = tuple(node.attributes.get_ints("kernel_shape", w[2:]))
    if x[1] != takes:
        return f"the input has {x[1]} channels, the weight takes {takes}" + (f" ({groups} groups)" if groups > 1 else "")
    if groups < 1 or makes % groups or takes % groups:
        return f"{takes} channels to {makes} can't be divided into {groups} groups"
    if kernel != w[2:]:
        return f"kernel_shape says {_text(kernel)}"
    if bias is not None and bias != (makes,):
        return f"the bias must be of shape [{makes}]"
    return _empty(node, out)


def _pool(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    return _empty(node, out)


def _gemm(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    (a, b, c), transposed = shapes[:3], [node.attributes.get_int(key, 0) for key in ("transA", "transB")]
    if len(a) == len(b) == 2 and a[0 if transposed[0] else 1] != b[1 if transposed[1] else 0]:
        return "the columns of the first are not the rows of the second" + (", transposed as they are" if any(transposed) else "")
    return None if c is None or not out or _broadcasts(c, out) else f"the third does not broadcast to the product, {_text(out)}"


def _norm(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    x, *parameters = (shape for shape in shapes if shape is not None)
    wrong = len(x) < 2 or any(shape != (x[1],) for shape in parameters)
    return "each parameter must have one value a channel" if wrong else None


def _reshape(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    return f"{prod(shapes[0])} elements don't make {_text(out)}" if out and prod(shapes[0]) != prod(out) else None


def _transpose(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    axes = node.attributes.get_ints("perm", range(len(shapes[0])))
    return None if sorted(axes) == list(range(len(shapes[0]))) else f"perm says {_text(tuple(axes))}"


def _slope(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    return None if _broadcasts(shapes[1], shapes[0]) else "the slope does not broadcast to the input"


def _layer_norm(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    rest = shapes[0][node.attributes.get_int("axis", -1) :]
    fits = all(shape is None or _broadcasts(shape, rest) or _broadcasts(shape, shapes[0]) for shape in shapes[1:3])
    return None if fits else f"scale and bias must broadcast to {_text(rest)}"


def _depth_to_space(node: ir.Node, shapes: list[Any], out: Shape) -> str | None:
    block = node.attributes.get_int("blocksize", 1)
    return f"{shapes[0][1]} channels can't be divided by {block} x {block}" if shapes[0][1] % block**2 else None


RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _pool,
    "Gemm": _gemm,
    "BatchNormalization": _norm,
    "InstanceNormalization": _norm,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "PRelu": _slope,
    "LayerNormalization": _layer_norm,
    "DepthToSpace": _depth_to_space,
}
