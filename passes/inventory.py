"""Which layers a network has: a list of `Layer` from the Relax module, with the reason where no method can factor one."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import tvm
from tvm import ir, relax

from ..factorization import METHODS, Layer

CONVOLUTIONS = {f"relax.nn.conv{dims}d": dims for dims in (1, 2, 3)}
TRANSPOSED = {f"relax.nn.conv{dims}d_transpose": dims for dims in (1, 2, 3)}


@dataclass(frozen=True)
class TransposedLayer(Layer):
    """A transposed convolution: every pixel of the *input* meets every weight once."""

    @property
    def macs(self) -> int:
        return self.batch * prod(self.input_size) * self.params


def inventory(mod: tvm.IRModule) -> list[Layer]:
    """Every convolution and dense layer with a constant weight, in the order in which they run.

    Parameters
    ----------
    mod : tvm.IRModule
        An imported network: NCHW, each layer bound to a variable of its name.

    Returns
    -------
    list of Layer
        `reason` says why no method applies, else it is None. A convolution over one dimension is listed as one over an image of
        height 1, one over three dimensions with depth and height merged; neither is factored, nor are transposed convolutions.
    """
    return [_with_reason(layer) for layer in (_layer(binding) for binding in _bindings(mod)) if layer is not None]


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
    operator, weight = call.op.name, _constant(call, 1)
    if weight is None:
        return None
    data, kernel, out = (_shape(expr) for expr in (call.args[0], weight, call))
    if operator == "relax.matmul" and len(kernel) == 2:
        layer = Layer(name, "dense", kernel[::-1], batch=prod(data[:-1]))
    elif operator in CONVOLUTIONS:
        layer = Layer(name, "conv2d", _plane(kernel), **_geometry(call, data, out))
        if CONVOLUTIONS[operator] != 2:
            return replace(layer, reason=f"{CONVOLUTIONS[operator]}-D convolution: only 2-D ones are factored")
    elif operator in TRANSPOSED:
        groups = int(call.attrs.groups)
        kernel = (kernel[1] * groups, kernel[0] // groups, *kernel[2:])
        geometry = _geometry(call, data, out)
        return TransposedLayer(name, "conv2d", _plane(kernel), **geometry, reason="transposed convolution: not factored")
    else:
        return None
    dtype = str(weight.ty.dtype)
    return layer if dtype == "float32" else replace(layer, reason=f"weights are {dtype}: only float32 is factored")


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
