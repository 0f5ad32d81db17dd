"""HardSwish as importers write it, which kernels take in behind a layer as one step.

    a = x + 3;  b = clip(a, 0, 6);  c = b / 6;  y = x * c
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import ir, relax

from .epilogues import bound


@dataclass(frozen=True)
class HardSwish:
    """What becomes of a value.

    Attributes
    ----------
    inner : tuple of relax.Var
        The variables on the way; nothing else reads them.
    result : relax.Var
    """

    inner: tuple[relax.Var, ...]
    result: relax.Var


def find_hard_swishes(bindings: Sequence[relax.VarBinding], uses: Counter[relax.Var]) -> dict[relax.Var, HardSwish]:
    """Find them all, by the variables of the values that nothing else reads.

    Parameters
    ----------
    bindings : sequence of relax.VarBinding
    uses : Counter
        How often each variable is read.
    """
    made = {binding.var: binding.value for binding in bindings}
    found: dict[relax.Var, HardSwish] = {}
    for binding in bindings:
        if not _calls(binding.value, "multiply") or str(binding.value.ty.dtype) != "float32":
            continue
        for value, share in (binding.value.args, reversed(binding.value.args)):
            inner = _steps(value, share, made) if isinstance(value, relax.Var) and uses[value] == 2 else None
            if inner is not None and all(uses[var] == 1 for var in inner):
                found[value] = HardSwish(inner, binding.var)
    return found


def _steps(value: relax.Var, share: relax.Expr, made: dict[relax.Var, relax.Expr]) -> tuple[relax.Var, ...] | None:
    """The variables from a value to the share of it that is kept; None if that is another one."""
    clipped, six = _operand(share, "divide", made)
    clip = made.get(clipped) if isinstance(clipped, relax.Var) else None
    if six != 6 or not _calls(clip, "clip") or [bound(arg) for arg in clip.args[1:]] != [0, 6]:
        return None
    raised, three = _operand(clip.args[0], "add", made)
    return (clip.args[0], clipped, share) if three == 3 and isinstance(raised, relax.Var) and raised.same_as(value) else None


def _operand(expr: relax.Expr, name: str, made: dict[relax.Var, relax.Expr]) -> tuple[relax.Expr | None, float | None]:
    """What an operator with a number as its second operand reads, and the number."""
    call = made.get(expr) if isinstance(expr, relax.Var) else None
    if not _calls(call, name) or not isinstance(call.args[1], ir.GenericConst):
        return None, None
    number = call.args[1].value.numpy()
    return (call.args[0], float(number.ravel()[0])) if number.size == 1 else (None, None)


def _calls(expr: relax.Expr | None, name: str) -> bool:
    return isinstance(expr, ir.Call) and isinstance(expr.op, ir.Op) and expr.op.name == f"relax.{name}"
