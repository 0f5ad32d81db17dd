"""Kernels that take arguments at any address where a number may lie.

TVM promises LLVM that every tensor begins at a multiple of 64 bytes, and never checks it. NumPy aligns arrays to 16 bytes, so that an
aligned move of a kernel can crash. Without the promise LLVM uses moves for any address, which are as fast where the data is aligned.
"""
from __future__ import annotations

import tvm
from tvm import tirx

from ..schedules.tir.loop_nests import substitute
from ..schedules.tir.module_pass import ModulePass


@tvm.transform.module_pass(opt_level=0, name="UnalignedParameters")
class UnalignedParameters(ModulePass):
    """Rewrite all kernels of a module."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: with_unaligned_parameters(f) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def with_unaligned_parameters(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with parameters that are aligned as one number is."""
    changed = {param: _unaligned(param) for param in func.params if isinstance(param.ty, tirx.BufferType)}
    params = [changed.get(param, param) for param in func.params]
    return tirx.PrimFunc(params, substitute(func.body, changed), func.ret_type, func.attrs)


def _unaligned(buffer: tirx.Buffer) -> tirx.Buffer:
    return tirx.decl_buffer(
        buffer.shape,
        buffer.dtype,
        buffer.name,
        strides=buffer.strides,
        elem_offset=buffer.elem_offset,
        scope=buffer.scope(),
        data_alignment=tvm.DataType(buffer.dtype).itemsize,
        offset_factor=buffer.offset_factor,
        layout=buffer.layout,
    )
