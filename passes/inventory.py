"""The layers of a network: a list of `Layer` from the Relax module, with the reason where no method can factor one."""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import TypedDict

import numpy as np
import tvm
from tvm import ir, relax

from ..factorization import METHODS, Layer

CONVOLUTIONS = {f"relax.nn.conv{dims}d": dims for dims in (1, 2, 3)}
TRANSPOSED_CONVOLUTIONS = {f"relax.nn.conv{dims}d_transpose": dims for dims in (1, 2, 3)}
# What Relax calls values without a name of their own. They are no layers of the file, but parts of its other operators.
UNNAMED_VALUE = re.compile(r"^(lv|gv)\d*$")
STEP = re.compile(r"\.step\d+$")  # behind the name of a recurrent layer that is written out step by step
STACK_REASON, STEPS_REASON = "a stack of matrices: not factored", "a recurrent layer: not factored"
COMPUTED_REASON = "its weight is computed in every run: only constant weights are factored"


@dataclass(frozen=True)
class TransposedLayer(Layer):
    """A transposed convolution: every pixel of the *input* meets every weight once."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole batch."""
        return self.batch * prod(self.input_size) * prod(self.weight_shape)


@dataclass(frozen=True)
class ComputedLayer(Layer):
    """A layer whose weight is a value of the network: it costs as many MACs, but has no parameters."""

    @property
    def params(self) -> int:
        """Number of weights: none is stored."""
        return 0


@dataclass(frozen=True)
class ComputedTransposedLayer(ComputedLayer, TransposedLayer):
    """A transposed convolution whose weight is a value of the network."""


def inventory(mod: tvm.IRModule) -> list[Layer]:
    """List every convolution and matrix product, in the order in which they run.

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
    """Join the steps of each recurrent layer into one entry that has the work of all."""
    joined: dict[tuple[str, tuple[int, ...]], Layer] = {}
    for layer in layers:
        name = STEP.sub("", layer.name) if layer.reason == STEPS_REASON else layer.name
        first = joined.get((name, layer.weight_shape))
        joined[name, layer.weight_shape] = replace(layer, name=name) if first is None else replace(first, batch=first.batch + layer.batch)
    return list(joined.values())


def applicable(layer: Layer) -> tuple[list[str], dict[str, str]]:
    """The names of the methods that can factor a layer, and the reasons of the other methods for layers of its kind why they can't."""
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
    elif operator in CONVOLUTIONS or operator in TRANSPOSED_CONVOLUTIONS:
        layer = _convolution(name, call)
    else:
        return None
    if layer.reason is None and UNNAMED_VALUE.match(name):
        layer = replace(layer, reason="a part of another operator: not factored")
    dtype = str(call.args[1].ty.dtype)
    if layer.reason is None and dtype != "float32":
        layer = replace(layer, reason=f"weights are {dtype}: only float32 is factored")
    return layer


def _convolution(name: str, call: ir.Call) -> Layer:
    operator = call.op.name
    data, kernel, out = (_shape(expr) for expr in (*call.args[:2], call))
    geometry, computed = _geometry(call, data, out), _constant(call, 1) is None
    if operator in TRANSPOSED_CONVOLUTIONS:
        groups = int(call.attrs.groups)
        kernel = (kernel[1] * groups, kernel[0] // groups, *kernel[2:])
        kind = ComputedTransposedLayer if computed else TransposedLayer
        reason = COMPUTED_REASON if computed else "transposed convolution: not factored"
        return kind(name, "conv2d", _plane(kernel), **geometry, reason=reason)
    if computed:
        return ComputedLayer(name, "conv2d", _plane(kernel), **geometry, reason=COMPUTED_REASON)
    dims = CONVOLUTIONS[operator]
    refusal = None if dims == 2 else f"{dims}-D convolution: only 2-D ones are factored"
    return Layer(name, "conv2d", _plane(kernel), **geometry, reason=refusal)


def _product(name: str, call: ir.Call) -> Layer:
    """A matrix product as a layer: its weight is the right factor if that is constant, else the left one, else the right one, computed."""
    left, right, out = (_shape(expr) for expr in (*call.args[:2], call))
    if _constant(call, 1) is None and _constant(call, 0) is not None:
        shape = (prod(left[:-1]), left[-1])
        return Layer(name, "dense", shape, batch=prod(out) // max(shape[0], 1), reason="its weight is the left factor: not factored")
    columns = right[-1] if len(right) > 1 else 1
    shape = (prod(right[:-2]) * columns, right[-2] if len(right) > 1 else right[0])
    batch = prod(out) // max(shape[0], 1)
    if _constant(call, 1) is None:
        return ComputedLayer(name, "dense", shape, batch=batch, reason=COMPUTED_REASON)
    reason = None if len(right) == 2 else STEPS_REASON if STEP.search(name) else STACK_REASON
    return Layer(name, "dense", shape, batch=batch, reason=reason)


def _with_reason(layer: Layer) -> Layer:
    methods, refusals = applicable(layer)
    return layer if methods or layer.reason else replace(layer, reason="; ".join(dict.fromkeys(refusals.values())))


def _shape(expr: ir.Expr) -> tuple[int, ...]:
    return tuple(int(size) for size in expr.ty.shape.values)


class _Geometry(TypedDict):
    """The fields of a Layer that say where a convolution stands."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    batch: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]


def _geometry(call: ir.Call, data: tuple[int, ...], out: tuple[int, ...]) -> _Geometry:
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
        "input_size": _plane_size(data),
        "output_size": _plane_size(out),
    }


def _plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with one or three spatial dimensions as one with two, of the same number of elements."""
    return (*shape[:2], *_plane_size(shape))


def _plane_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """The spatial dimensions of such a shape: height and width."""
    spatial = shape[2:]
    return prod(spatial[:-1]), spatial[-1]


def _plane_pair(values: tuple[int, ...], neutral: int) -> tuple[int, int]:
    """The last two of the values for each dimension; a single one gets a neutral value before it."""
    return (neutral, values[0]) if len(values) == 1 else (values[-2], values[-1])
