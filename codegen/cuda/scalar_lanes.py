"""Vectorised loops whose lanes compare are unrolled: CUDA C has no vectors of truth values."""
from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx

from ...schedules.tir.lanes import compares


@tirx.transform.prim_func_pass(opt_level=0, name="ScalarLanes")
class ScalarLanes:
    """Rewrite the loops of all functions."""

    def transform_function(self, func: tirx.PrimFunc, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tirx.PrimFunc:
        """Rewrite the loops of one function."""
        return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, _loop), order="post"))


def _loop(loop: tirx.For) -> tirx.For:
    if loop.kind != tirx.ForKind.VECTORIZED or not compares(loop.body, loop.loop_var):
        return loop
    return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.UNROLLED, loop.body, loop.thread_binding, loop.annotations)
