"""What the lanes of a vector may not do: CUDA C has no vectors of truth values."""
from __future__ import annotations

import tvm_ffi
from tvm import ir, tirx

from .analysis import call_name, mentions

CHOOSING = (tirx.Select, tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.And, tirx.Or, tirx.Not)


def compares(body: tirx.Stmt, lane: ir.Var) -> bool:
    """Whether lanes compare. What guards all lanes together does not count: it stays outside the vector.

    Parameters
    ----------
    body : Stmt
    lane : Var
        That counts the lanes, or the axis that they go along.
    """
    guards: list[ir.Expr] = []

    def guard(call: ir.Call) -> None:
        if call_name(call) == "if_then_else" and not mentions(call.args[0], lane):
            guards.append(call.args[0])

    def condition(node: tirx.IfThenElse) -> None:
        if not mentions(node.condition, lane):
            guards.append(node.condition)

    for kind, visit in ((ir.Call, guard), (tirx.IfThenElse, condition)):
        tvm_ffi.structural_walk(body, (kind, visit))
    guarded = [one for each in guards for one in _comparisons(each)]
    return any(not any(each.same_as(one) for one in guarded) for each in _comparisons(body))


def _comparisons(node: ir.Expr | tirx.Stmt) -> list[ir.Expr]:
    found: list[ir.Expr] = []
    for kind in CHOOSING:
        tvm_ffi.structural_walk(node, (kind, found.append))
    return found
