"""The element-wise operators behind each layer of a network: its bias and activation, which the layer's kernel will take in."""
from __future__ import annotations

import tvm
from tvm import ir, relax

from ..schedules.operators import has_operand, is_step
from .use_counts import count_uses

Steps = tuple[str, ...]


def epilogues(mod: tvm.IRModule) -> dict[str, Steps]:
    """Find the element-wise operators behind each result in `main`, as far as nothing else reads the values between them.

    Returns
    -------
    dict of str to tuple of str
        By the name of the result's variable, such as ``("relax.add", "relax.nn.relu")``. A clip has its bounds: ``"relax.clip 0 6"``.
        Operators with an operand count if that is a constant. Variables with nothing behind them are missing.
    """
    uses = count_uses(mod["main"])
    open_runs: dict[relax.Var, str] = {}  # variable to read -> the name of the variable that the run began with
    found: dict[str, Steps] = {}
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            call = binding.value
            source = call.args[0] if isinstance(call, ir.Call) and call.args else None
            step = _step(call) if isinstance(source, relax.Var) and uses[source] == 1 else None
            start = open_runs.pop(source, None) if step is not None else None
            if start is None or step is None:
                start = binding.var.name
            else:
                found[start] = (*found.get(start, ()), step)
            open_runs[binding.var] = start
    return found


def _step(call: ir.Call) -> str | None:
    if not isinstance(call.op, ir.Op) or not is_step(call.op.name):
        return None
    name = call.op.name
    if has_operand(name):
        return name if isinstance(call.args[1], ir.GenericConst) else None
    if name == "relax.clip":
        return " ".join([name, *(f"{bound(arg):g}" for arg in call.args[1:])])
    return name


def bound(expr: ir.Expr) -> float:
    """The number that a bound of a clip is."""
    return float(expr.value.value if hasattr(expr.value, "value") else expr.value)
