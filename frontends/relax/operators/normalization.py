"""Normalisations with outputs or axes that TVM's converters lack."""
from __future__ import annotations

from tvm import relax

from .common import Attributes, Converter, Inputs, dtype_of

op = relax.op


def _layer_norm(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Convert LayerNormalization whose mean and inverse deviation are used: TVM's has no such outputs."""
    outputs = attrs["tvm_custom"]["num_outputs"]
    if outputs < 2:
        return None
    x, scale, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    axes = list(range(int(attrs.get("axis", -1)) % x.ty.ndim, x.ty.ndim))
    mean = bb.emit(op.mean(x, axes, keepdims=True))
    centred = bb.emit(op.subtract(x, mean))
    variance = bb.emit(op.mean(op.multiply(centred, centred), axes, keepdims=True))
    inverse = bb.emit(op.rsqrt(op.add(variance, relax.const(attrs.get("epsilon", 1e-5), dtype_of(x)))))
    result = bb.emit(op.multiply(op.multiply(centred, inverse), scale))
    result = result if bias is None else bb.emit(op.add(result, bias))
    return relax.Tuple([result, mean, inverse][:outputs])


def _rms_norm(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Over all axes: TVM's kernel wants one that is left."""
    x, scale = inputs
    if int(attrs.get("axis", -1)) % x.ty.ndim:
        return None
    mean = bb.emit(op.mean(op.multiply(x, x), list(range(x.ty.ndim)), keepdims=True))
    inverse = bb.emit(op.rsqrt(op.add(mean, relax.const(attrs.get("epsilon", 1e-5), dtype_of(x)))))
    return op.multiply(op.multiply(x, inverse), scale)


def _lp_norm(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    """x / |x|_p along an axis, and 0 where the norm is."""
    x, axis = inputs[0], [int(attrs.get("axis", -1))]
    if attrs.get("p", 2) == 1:
        norm = bb.emit(op.sum(op.abs(x), axis, keepdims=True))
    else:
        norm = bb.emit(op.sqrt(op.sum(op.multiply(x, x), axis, keepdims=True)))
    zero = relax.const(0, dtype_of(x))
    return op.where(op.equal(norm, zero), zero, op.divide(x, norm))


NORMALIZATION: dict[str, Converter] = {"LayerNormalization": _layer_norm, "RMSNormalization": _rms_norm, "LpNormalization": _lp_norm}
