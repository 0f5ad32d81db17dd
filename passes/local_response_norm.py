"""Local response normalisation as importers write it becomes one kernel.

    x / power(multiply(avg_pool3d(x * x), alpha) + bias, beta)    ->    response_norm(x)

The pool's window lies along the channels, which are the last axis by now. As written, it takes several kernels with tensors between them.
"""
from __future__ import annotations

from typing import TypeGuard

import numpy as np
import tvm
from tvm import ir, relax

from ..schedules.backend import Backend
from ..schedules.shapes import ResponseNorm
from ..schedules.tir.module_pass import with_main
from .channels_last_rules import ints

OPAQUE_PATTERN = {"op_pattern": 8}  # kOpaque: nothing joins the kernel
_RESHAPES = ("relax.reshape", "relax.expand_dims", "relax.squeeze")


def local_response_norm(mod: tvm.IRModule, backend: Backend) -> tvm.IRModule:
    """Replace each such expression of `main` by one kernel.

    Parameters
    ----------
    mod : tvm.IRModule
        Channels-last module, before it is legalized.
    backend : Backend
        Has the kernel.
    """
    return with_main(mod, _Rewriter(mod, backend))


@relax.expr_functor.mutator
class _Rewriter(relax.expr_functor.PyExprMutator):
    def __init__(self, mod: tvm.IRModule, backend: Backend):
        super().__init__(mod)
        self.backend = backend

    def visit_call_(self, call: ir.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        found = self._match(call)
        if found is None:
            return call
        data, norm = found
        bound = self.backend.response_norm(tuple(ints(data.ty.shape)), norm)
        if bound is None:
            return call
        return self.builder_.call_te(bound.compute, data, primfunc_name_hint="response_norm", primfunc_attrs=OPAQUE_PATTERN)

    def _match(self, divide: relax.Expr) -> tuple[relax.Expr, ResponseNorm] | None:
        """The operand and the numbers of the normalisation that a division ends; None if it ends none."""
        if not _calls(divide, "relax.divide") or str(divide.ty.dtype) != "float32":
            return None
        data, power = divide.args
        base, beta = self._with_constant(power, "relax.power")
        product, bias = self._with_constant(base, "relax.add")
        mean, alpha = self._with_constant(product, "relax.multiply")
        pool = self._value(self._behind_reshapes(mean))
        if beta is None or bias is None or alpha is None or not _calls(pool, "relax.nn.avg_pool3d"):
            return None
        reach, padded = ints(pool.attrs.padding), self._behind_reshapes(pool.args[0])
        before, behind = reach[2], reach[5]
        pad = self._value(padded)
        if _pads_rows(pad):  # torch pads first, and pools without
            *_, first, last = ints(pad.attrs.pad_width)
            before, behind, padded = before + first, behind + last, self._behind_reshapes(pad.args[0])
        square = self._value(padded)
        if not _calls(square, "relax.multiply") or not all(arg.same_as(data) for arg in square.args):
            return None
        size = ints(pool.attrs.pool_size)
        along_rows = size[:2] == [1, 1] and before + behind + 1 == size[2] and sum(reach) == reach[2] + reach[5]
        same_rows = ints(pool.ty.shape)[-1] == ints(data.ty.shape)[-1] and ints(power.ty.shape) == ints(data.ty.shape)
        single_steps = ints(pool.attrs.strides) == ints(pool.attrs.dilation) == [1, 1, 1]
        if not (along_rows and same_rows and single_steps and pool.attrs.count_include_pad and pool.attrs.layout == "NCDHW"):
            return None
        return data, ResponseNorm(before, behind, bias, alpha / size[2], beta)

    def _value(self, expr: relax.Expr) -> relax.Expr | None:
        return self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr

    def _with_constant(self, expr: relax.Expr | None, op: str) -> tuple[relax.Expr | None, float | None]:
        """The two arguments of the operator `op`, whose second is a number; None twice if `expr` is no such call."""
        call = self._value(expr)
        if not _calls(call, op) or not isinstance(call.args[1], ir.GenericConst):
            return None, None
        number = call.args[1].value.numpy()
        return (call.args[0], float(number.ravel()[0])) if np.size(number) == 1 else (None, None)

    def _behind_reshapes(self, expr: relax.Expr | None) -> relax.Expr | None:
        call = self._value(expr)
        while call is not None and any(_calls(call, op) for op in _RESHAPES):
            expr = call.args[0]
            call = self._value(expr)
        return expr


def _pads_rows(call: relax.Expr | None) -> TypeGuard[ir.Call]:
    """Whether a call adds zeros before and behind the last axis, and nothing else."""
    if not _calls(call, "relax.nn.pad"):
        return False
    attrs = call.attrs
    return attrs.pad_mode == "constant" and float(attrs.pad_value) == 0 and not any(ints(attrs.pad_width)[:-2])


def _calls(expr: relax.Expr | None, op: str) -> TypeGuard[ir.Call]:
    return isinstance(expr, ir.Call) and isinstance(expr.op, ir.Op) and expr.op.name == op
