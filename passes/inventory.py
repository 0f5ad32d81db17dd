"""Which layers a network has: a list of `Layer` from the Relax module, with the reason where no method can factor one."""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import tvm
from tvm import ir, relax

from ..factorization import METHODS, Layer

CONVOLUTIONS = {f"relax.nn.conv{dims}d": dims for dims in (1, 2, 3)}
TRANSPOSED = {f"relax.nn.conv{dims}d_transpose": dims for dims in (1, 2, 3)}
# What Relax calls the values that have no name of their own: no layer of the file, but a part of one of its other operators.
UNNAMED = re.compile(r"^(lv|gv)\d*$")
STEP = re.compile(r"\.step\d+$")  # behind the name of a recurrent layer that is written out step by step
STACK, STEPS = "a stack of matrices: not factored", "a recurrent layer: not factored"
COMPUTED = "its weight is computed in every run: only constant weights are factored"


@dataclass(frozen=True)
class TransposedLayer(Layer):
    """A transposed convolution: every pixel of the *input* meets every weight once."""

    @property
    def macs(self) -> int:
        return self.batch * prod(self.input_size) * prod(self.weight_shape)


@dataclass(frozen=True)
class ComputedLayer(Layer):
    """A layer whose weight is a value of the network: it costs as many MACs, but has no parameters."""

    @property
    def params(self) -> int:
        return 0


@dataclass(frozen=True)
class ComputedTransposedLayer(ComputedLayer, TransposedLayer):
    """Both."""


def inventory(mod: tvm.IRModule) -> list[Layer]:
    """Every convolution and matrix product, in the order in which they run.

    Parameters
    ----------
    mod : tvm.IRModule
        An imported network: NCHW, each layer bound to a variable of its name.

    Returns
    -------
    list of Layer
        `reason` says why no method applies, else it is None. A convolution over one dimension is listed as one over an image of
        height 1, one over three dimensions with depth and height merged; neither is factored, nor are transposed convolutions, nor
        layers whose weight is computed. A stack of matrices is listed as one matrix with the rows of all.
    """
    return [_with_reason(layer) for layer in (_layer(binding) for binding in _bindings(mod)) if layer is not None]


def steps_joined(layers: list[Layer]) -> list[Layer]:
    """The layers with all steps of each recurrent one as a single entry, which has their work."""
    joined: dict[str, Layer] = {}
    for layer in layers:
        name = STEP.sub("", layer.name) if layer.reason == STEPS else layer.name
        first = joined.get((name, layer.weight_shape))
        joined[name, layer.weight_shape] = replace(layer, name=name) if first is None else replace(first, batch=first.batch + layer.batch)
    return list(joined.values())


def applicable(layer: Layer) -> tuple[list[str], dict[str, str]]:
    """The names of the methods that can factor a layer, and for each other method of the layer's kind the reason why not."""
    checks = {name: method.check(layer) for name, method in METHODS.items() if method.kind == layer.kind}
    return [name for name, refusal in checks.items() if refusal is None], {name: r.reason for name, r in checks.items() if r is not None}


def weights(mod: tvm.IRModule) -> dict[str, np.ndarray]:
    """The weights of the plain convolutions (OIHW) and dense layers (OI) of a module, by the name of the layer."""
    result = {}
    for binding in _bindings(mod):
        weight = _constant(binding.value, 1)
        if weight is None:
            continue
        if binding.value.op.name == "relax.nn.conv2d":
            result[binding.var.name] = weight.value.numpy()
        elif binding.value.op.name == "relax.matmul" and weight.ty.ndim == 2:
            result[binding.var.name] = weight.value.numpy().T
    return result


def _bindings(mod: tvm.IRModule) -> Iterator[relax.VarBinding]:
    """The bindings of calls of operators in ``main``."""
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding) and isinstance(binding.value, ir.Call) and isinstance(binding.value.op, ir.Op):
                yield binding


def _constant(call: ir.Call, index: int) -> ir.GenericConst | None:
    weight = call.args[index] if index < len(call.args) else None
    return weight if isinstance(weight, ir.GenericConst) else None


def _layer(binding: relax.VarBinding) -> Layer | None:
    call, name = binding.value, binding.var.name
    operator = call.op.name
    if operator == "relax.matmul":
        layer = _product(name, call)
    elif operator in CONVOLUTIONS or operator in TRANSPOSED:
        layer = _convolution(name, call)
    else:
        return None
    if layer.reason is None and UNNAMED.match(name):
        layer = replace(layer, reason="a part of another operator: not factored")
    dtype = str(call.args[1].ty.dtype)
    if layer.reason is None and dtype != "float32":
        layer = replace(layer, reason=f"weights are {dtype}: only float32 is factored")
    return layer


def _convolution(name: str, call: ir.Call) -> Layer:
    operator = call.op.name
    data, kernel, out = (_shape(expr) for expr in (*call.args[:2], call))
    geometry, computed = _geometry(call, data, out), _constant(call, 1) is None
    if operator in TRANSPOSED:
        groups = int(call.attrs.groups)
        kernel = (kernel[1] * groups, kernel[0] // groups, *kernel[2:])
        kind = ComputedTransposedLayer if computed else TransposedLayer
        return kind(name, "conv2d", _plane(kernel), **geometry, reason=COMPUTED if computed else "transposed convolution: not factored")
    if computed:
        return ComputedLayer(name, "conv2d", _plane(kernel), **geometry, reason=COMPUTED)
    dims = CONVOLUTIONS[operator]
    reason = None if dims == 2 else f"{dims}-D convolution: only 2-D ones are factored"
    return Layer(name, "conv2d", _plane(kernel), **geometry, reason=reason)


def _product(name: str, call: ir.Call) -> Layer:
    """A matrix product: of a constant on the right, else of one on the left, else of two computed matrices."""
    left, right, out = (_shape(expr) for expr in (*call.args[:2], call))
    if _constant(call, 1) is None and _constant(call, 0) is not None:
        shape = (prod(left[:-1]), left[-1])
        return Layer(name, "dense", shape, batch=prod(out) // max(shape[0], 1), reason="its weight is the left factor: not factored")
    columns = right[-1] if len(right) > 1 else 1
    shape = (prod(right[:-2]) * columns, right[-2] if len(right) > 1 else right[0])
    options = {"batch": prod(out) // max(shape[0], 1)}
    if _constant(call, 1) is None:
        return ComputedLayer(name, "dense", shape, **options, reason=COMPUTED)
    return Layer(name, "dense", shape, **options, reason=None if len(right) == 2 else STEPS if STEP.search(name) else STACK)


def _with_reason(layer: Layer) -> Layer:
    methods, refusals = applicable(layer)
    return layer if methods or layer.reason else replace(layer, reason="; ".join(dict.fromkeys(refusals.values())))


def _shape(expr: ir.Expr) -> tuple[int, ...]:
    return tuple(int(size) for size in expr.ty.shape.values)


def _geometry(call: ir.Call, data: tuple[int, ...], out: tuple[int, ...]) -> dict:
    """The fields of a Layer that a convolution over any number of dimensions has."""
    attrs = call.attrs
    stride, dilation, pads = (tuple(int(v) for v in values) for values in (attrs.strides, attrs.dilation, attrs.padding))
    dims = len(stride)
    before, after = _plane_pair(pads[:dims], 0), _plane_pair(pads[dims:], 0)
    return {
        "stride": _plane_pair(stride, 1),
        "dilation": _plane_pair(dilation, 1),
        "padding": before + after,
        "groups": int(attrs.groups),
        "batch": data[0],
        "input_size": _plane(data)[2:],
        "output_size": _plane(out)[2:],
    }


def _plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with one or three spatial dimensions as one with two, of the same number of elements."""
    spatial = shape[2:]
    return (*shape[:2], prod(spatial[:-1]), spatial[-1])


def _plane_pair(values: tuple[int, ...], neutral: int) -> tuple[int, int]:
    return (neutral, *values) if len(values) == 1 else values[-2:]
