"""Vectors of bytes that are copied to shared memory where a guard holds, and are zero elsewhere.

TVM knows guarded asynchronous copies of floats alone, and can't write a vector of more than four bytes down.

    async: shared[i:i + 16] = if_then_else(guard, x[j:j + 16], 0)    ->    cp_async(shared, i, x, j, 16, guard)
           shared[i:i + 16] = if_then_else(guard, x[j:j + 16], 0)    ->    the same, with 0 as four numbers of 32 bits
"""
from __future__ import annotations

import tvm
import tvm_ffi
from tvm import ir, tirx

from ...schedules.tir.analysis import call_name

ASYNC = "async_scope"
COPY = "tirx.s_tir.cp_async_raw"
SIZES = (4, 8, 16)  # bytes of an asynchronous copy
WORD = 4


@tirx.transform.prim_func_pass(opt_level=0, name="ByteCopies")
class ByteCopies:
    """Rewrite the copies of all functions."""

    def transform_function(self, func: tirx.PrimFunc, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tirx.PrimFunc:
        """Rewrite the copies of one function."""
        body = tvm_ffi.structural_map(func.body, (tirx.AttrStmt, _scope), order="post")
        return func.with_body(tvm_ffi.structural_map(body, (tirx.Broadcast, _zeros), order="post"))


def _scope(scope: tirx.AttrStmt) -> tirx.AttrStmt:
    if str(scope.attr_key) != ASYNC:
        return scope
    body = tvm_ffi.structural_map(scope.body, (tirx.BufferStore, _copy), order="post")
    return tirx.AttrStmt(scope.node, scope.attr_key, scope.value, body)


def _copy(store: tirx.BufferStore) -> tirx.Stmt:
    value = store.value
    if not isinstance(value, ir.Call) or call_name(value) != "if_then_else" or str(store.buffer.dtype) not in ("int8", "uint8"):
        return store
    guard, load, other = value.args
    if not isinstance(load, ir.TensorLoad) or not _is_zero(other):
        return store
    to, source = store.indices[-1], load.indices[-1]
    if not all(isinstance(each, tirx.Ramp) for each in (to, source)) or int(to.lanes) not in SIZES:
        return store
    element = str(store.buffer.dtype)
    return tirx.Evaluate(tirx.call_intrin(element, COPY, store.buffer.data, to.base, load.source.data, source.base, int(to.lanes), guard))


def _is_zero(value: ir.Expr) -> bool:
    return isinstance(value, tirx.Broadcast) and isinstance(value.value, tirx.IntImm) and int(value.value.value) == 0


def _zeros(value: tirx.Broadcast) -> ir.Expr:
    lanes, kind = int(value.lanes), str(value.value.ty.dtype)
    if kind not in ("int8", "uint8") or lanes <= WORD or not _is_zero(value):
        return value
    return tirx.reinterpret(f"{kind}x{lanes}", tirx.Broadcast(tirx.const(0, "int32"), lanes // WORD))
