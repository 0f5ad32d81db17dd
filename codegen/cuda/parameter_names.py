"""Parameters of kernels named as C allows: TVM writes names as they come, and those of a network's inputs may be anything."""
from __future__ import annotations

import re

from tvm import ir, tirx

from ...schedules.tir.loop_nests import substitute

PLAIN = re.compile(r"[A-Za-z][A-Za-z_0-9]{0,60}")


def with_plain_names(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with its parameters renamed where C would not take their names, or might know them otherwise."""
    renamed = {param: ir.Var(f"arg{index}", param.ty) for index, param in enumerate(func.params) if not _plain(str(param.name))}
    params = [renamed.get(param, param) for param in func.params]
    return tirx.PrimFunc(params, substitute(func.body, renamed), func.ret_type, func.attrs) if renamed else func


def _plain(name: str) -> bool:
    # Words of the language, and names of functions such as `exp`, have no digit or underscore behind them.
    return bool(PLAIN.fullmatch(name)) and (len(name) == 1 or not name.isalpha())
