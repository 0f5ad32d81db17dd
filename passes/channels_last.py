"""Channels-last: NCHW convolutions, pools and resizes become NHWC, and the permutes between them are pushed through and cancelled.

Every value keeps the layout that it was made in (`layout_emitter`), and every operator says how it works on values as they lie
(`channels_last_rules`). A permute is made only where a value is needed in a layout that it does not have: at the entry of the network, at
its exits, and before operators that have no rule (barriers), once for each value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm
from tvm import ir, relax

from ..schedules.tir.module_pass import ModulePass
from .channels_last_rules import RULES
from .layout_emitter import Emitter, Stored, Value, tensor_shape


@tvm.transform.module_pass(opt_level=0, name="ChannelsLast")
class ChannelsLast(ModulePass):
    """Rewrite `main` from channels-first to channels-last.

    - `conv2d`: data NHWC, kernel HWIO. `conv2d_transpose`: data NHWC, kernel HWIO, where I is the channels of its input (groups and all)
      and O those of its output in one group. Pools and `resize2d`: NHWC.
    - Constants (kernels, biases, rows of a dense weight behind a flatten) are permuted with NumPy; nothing permutes them at run time.
    - A constant or tensor broadcast against a channels-last one gets the full rank: a bias (1, F, 1, 1) or (F, 1, 1) becomes (1, 1, 1, F).
    - The signature of `main` stays: inputs and outputs are NCHW.
    - A variable that holds the result of an operator keeps its name; permutes and reshapes made here get new ones.

    The function should have static shapes and its constants folded; a tensor of dynamic size goes through operators as it is.
    """

    def transform_module(self, mod: ir.IRModule, context: tvm.transform.PassContext) -> ir.IRModule:
        """Rewrite `main`; the other functions stay."""
        main = mod["main"]
        mod = mod.clone()
        mod["main"] = _rewrite(main)
        return relax.transform.DeadCodeElimination()(mod)


def _rewrite(function: relax.Function) -> relax.Function:
    blocks = function.body.blocks
    dataflow = all(isinstance(block, relax.DataflowBlock) for block in blocks)
    bindings = [binding for block in blocks for binding in block.bindings]
    names = [var.name for var in function.params] + [binding.var.name for binding in bindings]
    walk = _Walk(Emitter(names, dataflow))
    for param in function.params:
        walk.values[param] = walk.out.value(param, param.name)
    for binding in bindings:
        walk.bind(binding)
    result = walk.out.plain(walk.value(function.body.body, "output"))
    block, result = _block(walk.out, result, dataflow)
    return relax.Function(function.params, relax.SeqExpr([block], result), function.ret_ty, function.is_pure, function.attrs)


def _block(out: Emitter, result: ir.Expr, dataflow: bool) -> tuple[relax.BindingBlock, ir.Expr]:
    """The bindings as one block, and the variable that the function returns, which a dataflow block must mark as visible outside."""
    if not isinstance(result, relax.Var):
        result = out.emit(result, out.fresh("output"))
    if not dataflow:
        return relax.BindingBlock(out.bindings), result
    bindings: list[relax.Binding] = []
    visible: dict[relax.Var, relax.Var] = {}
    for binding in out.bindings:
        var, value = binding.var, _substitute(binding.value, visible)
        if var == result:
            visible[var] = var = relax.Var(var.name, var.ty)
        cast = isinstance(binding, relax.MatchCast)
        bindings.append(relax.MatchCast(var, value, binding.ty) if cast else relax.VarBinding(var, value))
    return relax.DataflowBlock(bindings), visible.get(result, result)


class _Walk:
    """Goes through the bindings of the old function and keeps the value of each of its variables."""

    def __init__(self, out: Emitter):
        self.out = out
        self.values: dict[relax.Var, Value] = {}

    def bind(self, binding: relax.Binding) -> None:
        """Emit what a binding of the old function computes, and keep the value of its variable."""
        name = binding.var.name
        if isinstance(binding, relax.MatchCast):
            var = self.out.cast(self.old(binding.value), binding.ty, name)
            self.values[binding.var] = self.out.value(var, name)
        else:
            self.values[binding.var] = self.value(binding.value, name)

    def value(self, expr: ir.Expr, name: str) -> Value:
        """The value of an expression of the old function, emitted under `name` where it is an operator."""
        if isinstance(expr, relax.Var) and expr in self.values:
            return self.values[expr]
        if isinstance(expr, ir.Tuple):
            return tuple(self.value(item, name) for item in expr.fields)
        if isinstance(expr, ir.TupleGetItem):
            whole = self.value(expr.tuple_value, name)
            if isinstance(whole, tuple):
                return whole[expr.index]
            return self.out.value(self.out.emit(ir.TupleGetItem(whole, expr.index), name), name)
        if isinstance(expr, ir.Call):
            return self.call(expr, name)
        if isinstance(expr, ir.GenericConst):
            return self.out.value(expr, name)
        if isinstance(expr, relax.If | relax.Function):
            return self.out.value(self.out.emit(self.old(expr), name), name)
        return expr

    def call(self, call: ir.Call, name: str) -> Value:
        """Emit an operator: as its rule says, or on arguments that lie as in the old function."""
        rule = RULES.get(call.op.name) if isinstance(call.op, ir.Op) else None
        args = [self.value(arg, name) for arg in call.args]
        if rule and _known(args) and _static(call.ty):
            value = rule(call, args, self.out, name)
            if value is not None:
                return value
        barrier = ir.Call(self.old(call.op), [self.out.plain(arg) for arg in args], call.attrs, call.ty_args)
        return self.out.value(self.out.emit(barrier, name), name)

    def old(self, expr: ir.Expr) -> ir.Expr:
        """An expression of the old function on variables of the new one, all in the layout that they had."""
        used = relax.analysis.free_vars(expr)
        return _substitute(expr, {var: self.out.plain(self.values[var]) for var in used if var in self.values})


def _known(args: Sequence[Value]) -> bool:
    """Whether all tensors among the arguments are of static shape."""
    items = [item for arg in args for item in (arg if isinstance(arg, tuple) else (arg,))]
    return all(isinstance(item, Stored) or not (isinstance(item, tuple) or isinstance(item.ty, relax.TensorType)) for item in items)


def _static(type_: ir.Type) -> bool:
    return all(map(_static, type_.fields)) if isinstance(type_, ir.TupleType) else tensor_shape(type_) is not None


def _substitute(expr: ir.Expr, replacements: Mapping[relax.Var, ir.Expr]) -> ir.Expr:
    """`expr` with variables replaced."""
    if not replacements:
        return expr
    return _Substitution(replacements).visit_expr(expr)


@relax.expr_functor.mutator
class _Substitution(relax.PyExprMutator):
    def __init__(self, replacements: Mapping[relax.Var, ir.Expr]):
        super().__init__()
        self.replacements = replacements

    def visit_var_(self, var: relax.Var) -> ir.Expr:
        return self.replacements.get(var, var)

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> ir.Expr:
        return self.replacements.get(var, var)
