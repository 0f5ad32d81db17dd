"""Concatenations and splits whose parts can lie in place (`place_parts`) are set apart, before operators are fused.

    split(x) = (a, b);  y = concat(a, b, c)    ->    y = concat(x, c)
    y = concat(x, c);  (a, b) = split(x)       ->    kernels of their own, which nothing is fused with
"""
from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import ir, relax, tirx, topi
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.tir.module_pass import ModulePass, with_main
from ..schedules.tir.pair_products import HALF
from .channels_last_rules import ints

PLACED, SPLITS = "tenfold.concatenates", "tenfold.splits"  # attributes of the kernels
PLACED_TYPES = ("float32", HALF)   # of what lies between kernels
OPAQUE = 8                         # kOpaque: nothing is fused with the kernel
# What gives no tensor of its own, or one that is best fused with what reads it.
_VIEWS = {f"relax.{name}" for name in "reshape permute_dims split expand_dims squeeze flatten take strided_slice broadcast_to".split()}
_BROADCASTS = {"relax.image.resize2d"}  # of an image of one pixel


@tvm.transform.module_pass(opt_level=0, name="MarkConcat")
class MarkConcat(ModulePass):
    """Rewrite `main`; the other functions stay."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        return with_main(mod, _Rewriter(mod))


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        main = mod["main"]
        self.made = {binding.var: binding.value for block in main.body.blocks for binding in block.bindings}
        self.fused: set[relax.Var] = set()  # what only such operators read as a concatenation is best fused with
        for value in self.made.values():
            if _is_view(value) and isinstance(value.args[0], relax.Var):
                self.fused.add(value.args[0])
        for value in self.made.values():
            if not _is_view(value):
                self.fused.difference_update(relax.analysis.free_vars(value))
        self.now: relax.Var | None = None  # whose value is visited

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        self.now = binding.var
        super().visit_var_binding_(binding)

    def visit_call_(self, call: ir.Call) -> relax.Expr:
        if self._splits_channels(call):
            ends = call.attrs.indices_or_sections
            ends = int(ends) if isinstance(ends, int | tirx.IntImm) else ints(ends)
            attrs = {"op_pattern": OPAQUE, SPLITS: True}
            image = self.visit_expr(call.args[0])
            return self.builder_.call_te(topi.split, image, ends, 3, primfunc_name_hint="split", primfunc_attrs=attrs)
        if not self._over_channels(call) or self.now in self.fused:
            return super().visit_call_(call)
        operands = self._whole(list(call.args[0].fields))
        if len(set(operands)) < len(operands) or not all(self._is_made(operand) for operand in operands):
            return super().visit_call_(call)
        tensors = [self.visit_expr(operand) for operand in operands]
        attrs = {"op_pattern": OPAQUE, PLACED: True}
        return self.builder_.call_te(topi.concatenate, tensors, 3, primfunc_name_hint="concatenate", primfunc_attrs=attrs)

    def _over_channels(self, call: ir.Call) -> bool:
        """Whether a call concatenates channels-last images of float32, or of bfloat16, along their channels."""
        if not isinstance(call.op, ir.Op) or call.op.name != "relax.concat" or not isinstance(call.args[0], relax.Tuple):
            return False
        if len(call.ty.shape) != 4 or call.attrs.axis is None or int(call.attrs.axis) % 4 != 3:
            return False
        return str(call.ty.dtype) in PLACED_TYPES

    def _splits_channels(self, call: ir.Call) -> bool:
        """Whether a call splits a channels-last float32 image that a kernel makes, into parts with readers of their own."""
        if not isinstance(call.op, ir.Op) or call.op.name != "relax.split" or int(call.attrs.axis) % 4 != 3:
            return False
        return len(call.args[0].ty.shape) == 4 and str(call.args[0].ty.dtype) == "float32" and self._is_made(call.args[0])

    def _whole(self, operands: Sequence[relax.Expr]) -> list[relax.Expr]:
        """The operands, with a tensor in the place of all the parts that it was split into."""
        found: list[relax.Expr] = []
        rest = list(operands)
        while rest:
            tensor, count = self._split_of(rest)
            found.append(rest[0] if tensor is None else tensor)
            rest = rest[count:]
        return found

    def _split_of(self, operands: Sequence[relax.Expr]) -> tuple[relax.Expr | None, int]:
        """What the first operands are all the parts of, and how many these are."""
        parts = [self.made.get(operand) if isinstance(operand, relax.Var) else None for operand in operands]
        first = parts[0]
        if not isinstance(first, ir.TupleGetItem):
            return None, 1
        split, whole = self.made.get(first.tuple_value), first.tuple_value
        if not isinstance(split, ir.Call) or split.op.name != "relax.split" or int(split.attrs.axis) % 4 != 3:
            return None, 1
        count = len(split.ty.fields)
        same = [isinstance(part, ir.TupleGetItem) and part.tuple_value.same_as(whole) and part.index == i
                for i, part in enumerate(parts[:count])]
        return (split.args[0], count) if len(same) == count and all(same) else (None, 1)

    def _is_made(self, operand: relax.Expr) -> bool:
        """Whether a kernel makes the operand."""
        call = self.made.get(operand) if isinstance(operand, relax.Var) else None
        if not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op) or call.op.name in _VIEWS:
            return False
        return call.op.name not in _BROADCASTS or ints(call.args[0].ty.shape)[1:3] != [1, 1]


def _is_view(value: relax.Expr) -> bool:
    return isinstance(value, ir.Call) and isinstance(value.op, ir.Op) and value.op.name in _VIEWS
