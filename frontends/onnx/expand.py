"""Operators that TVM does not have, or onnx infers no shapes for, written out in operators that both know."""
from __future__ import annotations

import numpy as np
from onnxscript import ir

from .functions import inline_definitions
from .quantized import QUANTIZED, Make


def expand(model: ir.Model) -> None:
    """Write out every operator of `EXPANSIONS` and `functions.DEFINED`, in place."""
    inline_definitions(model)
    opset = model.opset_imports.get("", 21)
    for node in list(model.graph.all_nodes()):
        rule = EXPANSIONS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            continue
        nodes: list[ir.Node] = []

        def make(
            op_type: str, *inputs: ir.Value | float | list[int] | np.ndarray, nodes: list[ir.Node] = nodes, like: ir.Node = node
        ) -> ir.Value:
            values = [x if isinstance(x, ir.Value) else _constant(x, like, nodes) for x in inputs]
            nodes.append(ir.node(op_type, values, name=f"{like.name}.{len(nodes)}" if like.name else None))
            return nodes[-1].outputs[0]

        result, old = rule(make, node, opset), node.outputs[0]
        if result is None:
            continue
        node.graph.insert_before(node, nodes)
        result.type, result.name, old.name = old.type, old.name, None
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        node.graph.remove(node, safe=True)


def _constant(value: float | list[int] | np.ndarray, like: ir.Node, nodes: list[ir.Node]) -> ir.Value:
    dtype = like.inputs[0].dtype
    kind = "int64" if isinstance(value, list) else dtype.numpy() if dtype is not None else "float32"
    nodes.append(ir.node("Constant", [], {"value": ir.tensor(np.asarray(value, kind))}))
    return nodes[-1].outputs[0]


def drop_unused_outputs(model: ir.Model) -> None:
    """Leave out the last outputs of a node where nothing reads them: the indices of a MaxPool, the mask of a Dropout, in place."""
    for node in model.graph.all_nodes():
        count = len(node.outputs)
        while count > 1 and not node.outputs[count - 1].uses() and not node.outputs[count - 1].is_graph_output():
            count -= 1
        if count < len(node.outputs):
            node.resize_outputs(count)


def _celu(make: Make, node: ir.Node, opset: int) -> ir.Value:
    """Write Celu as max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    x, alpha = node.inputs[0], node.attributes.get_float("alpha", 1.0)
    curve = make("Mul", make("Sub", make("Exp", make("Div", x, alpha)), 1.0), alpha)
    return make("Add", make("Relu", x), make("Min", curve, 0.0))


def _swish(make: Make, node: ir.Node, opset: int) -> ir.Value:
    """Write Swish as x * sigmoid(alpha * x)."""
    x, alpha = node.inputs[0], node.attributes.get_float("alpha", 1.0)
    return make("Mul", x, make("Sigmoid", x if alpha == 1.0 else make("Mul", x, alpha)))


def _group_norm(make: Make, node: ir.Node, opset: int) -> ir.Value:
    """InstanceNorm over (groups, everything else), then a scale and a bias for each channel (each group before opset 21)."""
    x, scale, bias = node.inputs
    groups = node.attributes.get_int("num_groups", 1)
    flat = make("Reshape", x, [0, groups, -1])
    one, zero = (make("Expand", value, [groups]) for value in (1.0, 0.0))
    norm = make("InstanceNormalization", flat, one, zero)
    norm.producer().attributes["epsilon"] = ir.AttrFloat32("epsilon", node.attributes.get_float("epsilon", 1e-5))
    if opset < 21:
        norm = make("Add", make("Mul", norm, make("Reshape", scale, [1, -1, 1])), make("Reshape", bias, [1, -1, 1]))
        return make("Reshape", norm, make("Shape", x))
    channels = [1, -1] + [1] * (len(x.shape) - 2)
    back = make("Reshape", norm, make("Shape", x))
    return make("Add", make("Mul", back, make("Reshape", scale, channels)), make("Reshape", bias, channels))


def _prelu(make: Make, node: ir.Node, opset: int) -> ir.Value | None:
    """Before opset 7 a slope of (channels,) belonged to axis 1, not to the last."""
    x, slope = node.inputs
    if x.shape is None or slope.shape is None or len(x.shape) < 3 or len(slope.shape) != 1:
        return None
    if slope.shape[0] in (1, x.shape[-1]) or slope.shape[0] != x.shape[1]:
        return None
    return make("PRelu", x, make("Reshape", slope, [-1] + [1] * (len(x.shape) - 2)))


def _affine_grid(make: Make, node: ir.Node, opset: int) -> ir.Value | None:
    """(x, y, z, 1) of every point times the affine matrix. onnx infers no shape for it."""
    theta, size = node.inputs[0], ir.convenience.get_const_tensor(node.inputs[1])
    if size is None:
        return None
    images, _, *lengths = (int(length) for length in size.numpy())
    corners = node.attributes.get_int("align_corners", 0)
    axes = [np.linspace(-1, 1, n) if corners else (2 * np.arange(n) + 1) / n - 1 for n in lengths]
    points = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")][::-1]  # x first
    base = np.stack([*points, np.ones_like(points[0])], axis=-1)[None]
    turned = make("Transpose", theta)
    turned.producer().attributes["perm"] = ir.AttrInt64s("perm", [0, 2, 1])
    return make("Reshape", make("MatMul", base, turned), [images, *lengths, len(lengths)])


EXPANSIONS = {
    "AffineGrid": _affine_grid,
    "Celu": _celu,
    "Swish": _swish,
    "GroupNormalization": _group_norm,
    "PRelu": _prelu,
    **QUANTIZED,
}
