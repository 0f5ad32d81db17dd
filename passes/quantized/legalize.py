"""quantize as a multiplication by the reciprocal of its scale: a division takes as long as the rest of a kernel's epilogue.

    quantize(x)    ->    saturate(round_half_to_even(x * (1 / scale)) + zero)

The product may round to the other side of the middle between two steps, where ONNX divides: then a byte is one step off. NaN becomes the
largest byte, as with TVM's own quantize.
"""
from __future__ import annotations

import numpy as np
from tvm import ir, relax, te, tirx

from .quantization import Quantization


def quantize(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    """Legalize a call of quantize with one scale; None for others.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Gets the function.
    call : ir.Call
    """
    found = Quantization.of(call)
    if found is None:
        return None
    reciprocal = float(np.float32(1) / np.float32(found.scale))
    if not np.isfinite(reciprocal) or not reciprocal:
        return None
    limits = np.iinfo(found.dtype)

    def steps(x: te.Tensor) -> te.Tensor:
        def value(*i: ir.Expr) -> ir.Expr:
            rounded = tirx.round(x(*i) * tirx.const(reciprocal, "float32"))
            rounded = rounded + tirx.const(float(found.zero), "float32") if found.zero else rounded
            low, high = (tirx.const(float(limit), "float32") for limit in (limits.min, limits.max))
            return tirx.max(tirx.min(rounded, high), low).astype(found.dtype)

        return te.compute(x.shape, value, name="quantized")

    return builder.call_te(steps, call.args[0], primfunc_name_hint="quantize")
