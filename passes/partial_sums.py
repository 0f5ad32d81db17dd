"""A kernel that no layer needs: sums over a large input on all threads, by which the runtime tells whether it is finite."""
from __future__ import annotations

from math import prod

import tvm
from tvm import relax, te, tirx
from tvm.s_tir import Schedule

from ..runner.finite import LANES, MANY, PARTIAL_SUMS, TASKS


def with_partial_sums(mod: tvm.IRModule) -> tvm.IRModule:
    """A lowered module with the kernel, if ``main`` has an input that is large enough for it."""
    if not any(_is_large(param) for param in mod["main"].params):
        return mod
    result = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs, global_infos=mod.global_infos)
    result[PARTIAL_SUMS] = partial_sums()
    return result


def partial_sums() -> tirx.PrimFunc:
    """x (TASKS, any, LANES) -> its sums over the middle axis.

    parallel task
        for k
            vectorised lane     sums in registers
    """
    length = tirx.Var("length", "int64")
    x = te.placeholder((TASKS, length, LANES), name="x")
    k = te.reduce_axis((0, length), name="k")
    sums = te.compute((TASKS, LANES), lambda task, lane: te.sum(x[task, k, lane], axis=k), name="sums")
    s = Schedule(te.create_prim_func([x, sums]).with_attr("global_symbol", PARTIAL_SUMS))
    block = s.get_sblock("sums")
    registers = s.cache_write(block, 0, "local")
    task, lane, k = s.get_loops(block)
    s.reorder(k, lane)
    s.reverse_compute_at(registers, task)
    s.parallel(task)
    s.vectorize(lane)
    s.vectorize(s.get_loops(registers)[-1])
    s.vectorize(s.get_loops(s.decompose_reduction(block, k))[-1])
    return s.mod["main"]


def _is_large(param: relax.Var) -> bool:
    return str(param.ty.dtype) == "float32" and prod(int(size) for size in param.ty.shape.values) >= MANY
