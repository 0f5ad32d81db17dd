"""Kernels that assume of their arguments no alignment but that of one number.

TVM promises LLVM that every tensor begins at a multiple of 64 bytes, and checks it nowhere: a kernel that is given an array of NumPy, which
promises 16, dies of an aligned move. Without the promise the moves are those for any address, which are as fast where the data is aligned.
"""
from __future__ import annotations

import tvm
from tvm import tirx

from ..schedules.tir.loop_nests import substitute


@tvm.transform.module_pass(opt_level=0, name="AnyAlignment")
class AnyAlignment:
    """Rewrite all kernels of a module."""

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: any_alignment(f) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def any_alignment(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with parameters that may lie wherever a number may."""
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
