"""Linear and cubic resizing becomes a kernel of the backend, with the permutation to channels first behind it.

    resize2d -> permute_dims NHWC to NCHW    ->    resize
"""
from __future__ import annotations

import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.backend import Backend, BoundKernel
from ..schedules.interpolation import Interpolation
from ..schedules.tir.module_pass import ModulePass, with_main
from .channels_last_rules import ints
from .convolution_runs import FROM_CHANNELS_LAST
from .legalize import FUSABLE_PATTERN
from .use_counts import count_uses

METHODS = ("linear", "cubic")


@tvm.transform.module_pass(opt_level=0, name="Resize")
class Resize(ModulePass):
    """Replace each `resize2d` that interpolates.

    Parameters
    ----------
    backend : Backend
        Has the kernels.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        return with_main(mod, _Rewriter(mod, self.backend))


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, backend: Backend):
        super().__init__(mod)
        self.backend = backend
        self.uses = count_uses(mod["main"])
        self.old = {binding.var: binding.value for block in mod["main"].body.blocks for binding in block.bindings}

    def visit_call_(self, call: ir.Call) -> relax.Expr:
        """Replace a resize, or the permutation behind one: then the resize itself is dead."""
        source = call.args[0] if call.args else None
        resized = self.old.get(source) if isinstance(source, relax.Var) else None
        if _name(call) == "relax.permute_dims" and ints(call.attrs.axes or ()) == list(FROM_CHANNELS_LAST) and self.uses[source] == 1:
            found = self._kernel(resized, to_nchw=True)
        else:
            resized, found = call, self._kernel(call, to_nchw=False)
        if found is None or resized is None:
            return super().visit_call_(call)
        data = self.visit_expr(resized.args[0])
        constants = [relax.const(array) for array in found.constants]
        return self.builder_.call_te(found.compute, data, *constants, primfunc_name_hint="resize", primfunc_attrs=FUSABLE_PATTERN)

    def _kernel(self, call: ir.Expr | None, to_nchw: bool) -> BoundKernel | None:
        """The kernel of a resize; None for any other call, and where the backend has none."""
        if not isinstance(call, ir.Call) or _name(call) != "relax.image.resize2d":
            return None
        attrs, shape, data_type = call.attrs, ints(call.args[0].ty.shape), str(call.args[0].ty.dtype)
        if attrs.layout != "NHWC" or attrs.method not in METHODS or not data_type == str(call.ty.dtype) == "float32":
            return None
        if shape[1] * shape[2] == 1:  # a broadcast, which what reads it takes in
            return None
        how = Interpolation(attrs.method, attrs.coordinate_transformation_mode, float(attrs.cubic_alpha), bool(attrs.cubic_exclude))
        height, width = ints(call.ty.shape)[1:3]
        return self.backend.resize(shape, (height, width), how, to_nchw)


def _name(call: ir.Call) -> str:
    return str(call.op.name) if isinstance(call.op, ir.Op) else ""
