"""How a byte becomes a number and a number a byte, in float32, where TVM's own way is too slow or rounds in another place.

    quantize(x)      ->    saturate(round_half_to_even(x * (1 / scale)) + zero)        behind a layer
    dequantize(q)    ->    max((q - zero) * scale, lowest)

ONNX divides by the scale, which takes as long as the rest of a layer's epilogue. Where x lies within a rounding of the middle between two
steps, the byte may be one step off. NaN becomes the largest byte, as with TVM's own quantize. Behind other operators (averages, sums of two
tensors) values often lie right in the middle, and the roundings before decide: there TVM's quantize divides, and products are rounded. The
maximum changes no number, but keeps LLVM from making one instruction of the product and the sum that it goes into.
"""
from __future__ import annotations

import numpy as np
from tvm import ir, relax, te, tirx

from .quantization import Quantization


def quantize_by_product(builder: relax.BlockBuilder, x: ir.Expr, wanted: Quantization) -> ir.Call | None:
    """Return a call of a function that quantizes; None where float32 does not hold the reciprocal.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Gets the function.
    x : Expr
        float32.
    wanted : Quantization
    """
    with np.errstate(all="ignore"):
        reciprocal = float(np.float32(1) / np.float32(wanted.scale))
    if not np.isfinite(reciprocal) or reciprocal < np.finfo(np.float32).tiny:
        return None
    limits = np.iinfo(wanted.dtype)

    def bytes_of(numbers: te.Tensor) -> te.Tensor:
        def value(*i: ir.Expr) -> ir.Expr:
            rounded = tirx.round(numbers(*i) * tirx.const(reciprocal, "float32"))  # half to even
            rounded = rounded + tirx.const(float(wanted.zero), "float32") if wanted.zero else rounded
            low, high = (tirx.const(float(limit), "float32") for limit in (limits.min, limits.max))
            return tirx.max(tirx.min(rounded, high), low).astype(wanted.dtype)

        return te.compute(numbers.shape, value, name="quantized")

    return builder.call_te(bytes_of, x, primfunc_name_hint="quantize")


def dequantize(builder: relax.BlockBuilder, call: ir.Call) -> ir.Call | None:
    """Legalize a call of dequantize; None where it has other types, or several scales.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Gets the function.
    call : Call
    """
    found = Quantization.of(call)
    if found is None:
        return None

    def numbers_of(q: te.Tensor) -> te.Tensor:
        def value(*i: ir.Expr) -> ir.Expr:
            product = (q(*i).astype("int32") - found.zero).astype("float32") * tirx.const(found.scale, "float32")
            return tirx.max(product, tirx.min_value("float32"))

        return te.compute(q.shape, value, name="dequantized")

    return builder.call_te(numbers_of, call.args[0], primfunc_name_hint="dequantize")
