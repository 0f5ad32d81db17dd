"""Calls that round float32 numbers to bfloat16, and that widen these again. In Relax, bfloat16 numbers are ``uint16``: their bits."""
from __future__ import annotations

from tvm import ir, relax, te

from ...schedules.tir.pair_products import rounded, widened

ROUND, WIDEN = "round_bfloat16", "widen_bfloat16"  # names of the functions


def round_to_half(builder: relax.BlockBuilder, x: ir.Expr) -> ir.Call:
    """Return a call that rounds a float32 tensor."""
    return builder.call_te(lambda t: te.compute(t.shape, lambda *i: rounded(t(*i)), name="rounded"), x, primfunc_name_hint=ROUND)


def widen(builder: relax.BlockBuilder, half: ir.Expr) -> ir.Call:
    """Return a call that widens a tensor of bfloat16."""
    return builder.call_te(lambda t: te.compute(t.shape, lambda *i: widened(t(*i)), name="widened"), half, primfunc_name_hint=WIDEN)


def is_widening(value: ir.Expr | None) -> bool:
    """Whether an expression is a call that `widen` made."""
    if not isinstance(value, ir.Call) or not isinstance(value.op, ir.Op) or value.op.name != "relax.call_tir":
        return False
    return value.args[0].name_hint.startswith(WIDEN)
