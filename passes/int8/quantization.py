"""Calls of quantize and dequantize, as far as they have one scale and one zero point for the whole tensor."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm import ir, relax

SHIFT = 128  # from signed to unsigned bytes


@dataclass(frozen=True)
class Quantization:
    """What bytes stand for: (byte - zero) * scale.

    Attributes
    ----------
    scale : float
        Above 0.
    zero : int
    dtype : str
        ``uint8`` or ``int8``.
    """

    scale: float
    zero: int
    dtype: str

    @classmethod
    def of(cls, call: ir.Call) -> Quantization | None:
        """That of a call of quantize or dequantize; None where it is of other types, by channel, or not known."""
        if not is_call(call, "relax.quantize", "relax.dequantize"):
            return None
        dtype = str(call.attrs.out_dtype if call.op.name == "relax.quantize" else call.args[0].ty.dtype)
        other = str(call.args[0].ty.dtype if call.op.name == "relax.quantize" else call.attrs.out_dtype)
        scale, zero = (_number(argument) for argument in call.args[1:3])
        if dtype not in ("uint8", "int8") or other != "float32" or scale is None or zero is None:
            return None
        return cls(scale, int(zero), dtype) if np.isfinite(scale) and scale > 0 else None

    def of_type(self, dtype: str) -> Quantization:
        """The same of bytes of a type: each is 128 more where they become unsigned, and 128 less where they become signed."""
        shift = 0 if dtype == self.dtype else SHIFT if dtype == "uint8" else -SHIFT
        return replace(self, zero=self.zero + shift, dtype=dtype)

    def quantize(self, x: ir.Expr) -> ir.Expr:
        """Return a call that quantizes."""
        return relax.op.quantize(x, relax.const(self.scale, "float32"), relax.const(self.zero, self.dtype), axis=-1, out_dtype=self.dtype)

    def dequantize(self, q: ir.Expr) -> ir.Expr:
        """Return a call that dequantizes."""
        return relax.op.dequantize(q, relax.const(self.scale, "float32"), relax.const(self.zero, self.dtype), axis=-1, out_dtype="float32")


def is_call(expr: ir.Expr | None, *names: str) -> bool:
    """Whether an expression calls one of these operators."""
    return isinstance(expr, ir.Call) and isinstance(expr.op, ir.Op) and expr.op.name in names


def _number(argument: ir.Expr) -> float | None:
    if not isinstance(argument, ir.GenericConst):
        return None
    array = np.asarray(argument.value.numpy())
    return float(array.ravel()[0]) if array.size == 1 else None
