"""SiLU as exporters write it becomes one operator, which kernels take in behind a layer.

    a = sigmoid(x);  y = x * a    ->    y = silu(x)
"""
from __future__ import annotations

import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.tir.module_pass import ModulePass, with_main


@tvm.transform.module_pass(opt_level=0, name="JoinSilu")
class JoinSilu(ModulePass):
    """Replace each product of a value and its sigmoid."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        return with_main(mod, _Rewriter(mod))


@mutator
class _Rewriter(PyExprMutator):
    def visit_call_(self, call: ir.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if isinstance(call.op, ir.Op) and call.op.name == "relax.multiply":
            for value, gate in (call.args, reversed(call.args)):
                made = self.lookup_binding(gate) if isinstance(gate, relax.Var) else None
                if isinstance(made, ir.Call) and isinstance(made.op, ir.Op) and made.op.name == "relax.sigmoid" \
                        and made.args[0].same_as(value):
                    return relax.op.nn.silu(value)
        return call
