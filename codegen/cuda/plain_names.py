"""Names in kernels as C allows: TVM writes them as they come, and those of a network's inputs may be anything."""
from __future__ import annotations

import re

import tvm_ffi
from tvm import ir, tirx

PLAIN = re.compile(r"[A-Za-z][A-Za-z_0-9]{0,60}")

OTHERS = re.compile(r"[^A-Za-z_0-9]")


def with_plain_names(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with itself, its parameters and buffers renamed where C would not take their names, or might know them otherwise."""
    renamed: list[tuple[ir.Var, ir.Var]] = []

    def replace(var: ir.Var) -> ir.Var:
        known = next((new for old, new in renamed if old.same_as(var)), None)
        if known is None and _plain(str(var.name)):
            return var
        if known is None:
            known = ir.Var(f"arg{len(renamed)}", var.ty)
            renamed.append((var, known))
        return known

    params = [replace(param) for param in func.params]
    body = tvm_ffi.structural_map(func.body, (ir.Var, replace), order="post")
    made = tirx.PrimFunc(params, body, func.ret_type, func.attrs) if renamed else func
    symbol = str(func.attrs["global_symbol"])
    return made.with_attr("global_symbol", OTHERS.sub("_", symbol)) if OTHERS.search(symbol) else made


def _plain(name: str) -> bool:
    # Words of the language, and names of functions such as `exp`, have no digit or underscore behind them.
    return bool(PLAIN.fullmatch(name)) and (len(name) == 1 or not name.isalpha())
