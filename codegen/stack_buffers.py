"""Accumulators as large as the register file.

TVM takes small buffers from the stack, where LLVM turns them into registers, and larger ones from the heap, where it does not. For TVM,
small means up to 1024 bytes, which is half of the registers of AVX-512.
"""
from __future__ import annotations

from math import prod

import tvm
import tvm_ffi
from tvm import ir, tirx

PIPELINE = "tenfold"             # TVM's lowering of loops, with the pass of this file in its place
REGISTER_FILE_BYTES = 2048       # of all vector registers of AVX-512
ANNOTATION = "disable_lower_builtin"  # TVM's annotation of a buffer that stays where it is declared: on the stack


def mark_stack_buffers(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Mark buffers of up to `REGISTER_FILE_BYTES` to stay on the stack, if all their indices are constant, as registers need."""
    moving: set[tirx.Buffer] = set()

    def note(access: ir.TensorLoad | tirx.BufferStore) -> None:
        buffer = access.source if isinstance(access, ir.TensorLoad) else access.buffer
        if not all(map(_constant, access.indices)):
            moving.add(buffer)

    def kept(node: tirx.AllocBuffer) -> tirx.AllocBuffer:
        buffer = node.buffer
        known = buffer not in moving and all(isinstance(extent, (int, tirx.IntImm)) for extent in buffer.shape)
        if not known or buffer.scope() != "global":
            return node
        dtype = tvm.DataType(buffer.dtype)
        small = prod(int(extent) for extent in buffer.shape) * dtype.itemsize <= REGISTER_FILE_BYTES
        return tirx.AllocBuffer(buffer, {**node.annotations, ANNOTATION: tirx.const(1, "int32")}) if small else node

    tvm_ffi.structural_walk(func.body, (ir.TensorLoad, note))
    tvm_ffi.structural_walk(func.body, (tirx.BufferStore, note))
    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.AllocBuffer, kept), order="post"))


def _constant(index: ir.Expr | int) -> bool:
    """Whether an index is one place, or a vector's: where accesses of a buffer have several lengths, TVM leaves these as ramps."""
    return isinstance(index.base if isinstance(index, tirx.Ramp) else index, (int, tirx.IntImm))


# Runs right before `LowerTVMBuiltin`, because the passes before it drop annotations.
MARK_STACK_BUFFERS = tirx.transform.prim_func_pass(
    lambda func, _mod, _context: mark_stack_buffers(func), opt_level=0, name="MarkStackBuffers")


def _pipeline() -> tuple[tvm.transform.Pass, object, object]:
    lower, finalize_host, finalize_device = tirx.get_tir_pipeline("default")
    return lower, lambda: tvm.ir.transform.Sequential([MARK_STACK_BUFFERS, finalize_host()]), finalize_device


tirx.register_tir_pipeline(PIPELINE, _pipeline)
