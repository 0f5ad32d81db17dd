"""A dequantize joins the operator that reads it, so that what lies between two kernels are bytes; so does the widening of bfloat16.

    x = dequantize(q)                       fused0(q, r):
    y = add(x, r)                    ->         x = dequantize(q)
                                                return add(x, r)

Otherwise it would be fused into the kernel that makes the bytes, which then writes float32. Each reader gets a dequantize of its own. What
is no reader in this sense (a layer in float32) reads float32, as before.
"""
from __future__ import annotations

import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...schedules.operators import ELEMENTWISE
from ...schedules.tir.module_pass import ModulePass, with_main
from ..bfloat16.rounding import is_widening
from .quantization import Quantization, is_call

READERS = frozenset({
    *ELEMENTWISE, "relax.quantize", "relax.concat", "relax.mean", "relax.nn.avg_pool2d", "relax.nn.max_pool2d",
    "relax.nn.adaptive_avg_pool2d",
})


@tvm.transform.module_pass(opt_level=0, name="JoinReaders")
class JoinReaders(ModulePass):
    """Group each reader with the dequantizes that it reads, as a function that `FuseTIR` makes one kernel of."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        if not any(_widens(binding.value) for block in mod["main"].body.blocks for binding in block.bindings):
            return mod
        return with_main(mod, _Rewriter(mod))


@mutator
class _Rewriter(PyExprMutator):
    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        call, one_result = binding.value, isinstance(binding.var.ty, relax.TensorType)
        made = self._made(self.visit_expr(call)) if is_call(call, *READERS) and one_result else {}
        if not made:
            super().visit_var_binding_(binding)
            return
        grouped = _Group(self.builder_).call(self.visit_expr(call), made)
        var = type(binding.var)(binding.var.name, grouped.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, grouped))
        self.set_var_remap(binding.var, var)

    def _made(self, call: ir.Call) -> dict[ir.Expr, ir.Call]:
        """The arguments of a call that a dequantize makes, and it."""
        flat = [each for argument in call.args for each in (argument.fields if isinstance(argument, ir.Tuple) else [argument])]
        return {each: found for each in flat if (found := self._dequantize(each)) is not None}

    def _dequantize(self, argument: ir.Expr) -> ir.Call | None:
        """The dequantize that makes an argument; None where something else does."""
        bound = self.lookup_binding(argument) if isinstance(argument, relax.Var) else None
        if is_call(bound, "relax.dequantize"):
            return bound if Quantization.of(bound) is not None else None
        return bound if _widens(bound) else None


def _widens(value: ir.Expr | None) -> bool:
    return is_call(value, "relax.dequantize") or is_widening(value)


class _Group:
    """A function of an operator and the dequantizes that it reads."""

    def __init__(self, builder: relax.BlockBuilder):
        self.builder = builder
        self.args: list[ir.Expr] = []
        self.params: list[relax.Var] = []
        self.bindings: list[relax.Binding] = []

    def call(self, call: ir.Call, made: dict[ir.Expr, ir.Call]) -> ir.Call:
        """Add the function, and return a call of it in the place of `call`; `made` has the dequantizes of its arguments."""
        inner = ir.Call(call.op, [self._inside(argument, made) for argument in call.args], call.attrs, call.ty_args)
        result = self._bind(inner, relax.Var)
        body = relax.SeqExpr([relax.DataflowBlock(self.bindings)], result)
        function = relax.Function(self.params, body, result.ty, True).with_attr("Primitive", True)
        kind = "widen" if all(map(is_widening, made.values())) else "dequantize"
        name = f"{kind}_{call.op.name.split('.')[-1]}"
        return self.builder.normalize(ir.Call(self.builder.add_func(function, name), self.args))

    def _inside(self, argument: ir.Expr, made: dict[ir.Expr, ir.Call]) -> ir.Expr:
        """An argument as the function sees it: a parameter, or a dequantize of one. Numbers and shapes stay as they are."""
        if isinstance(argument, ir.Tuple):
            return ir.Tuple([self._inside(each, made) for each in argument.fields])
        if not isinstance(argument, relax.Var) and not (isinstance(argument, ir.GenericConst) and argument.ty.ndim):
            return argument
        if argument not in made:
            return self._param(argument)
        dequantize = made[argument]
        if is_widening(dequantize):
            function, sources = dequantize.args
            arguments = [function, ir.Tuple([self._param(source) for source in sources.fields])]
        else:
            arguments = [self._param(dequantize.args[0]), *dequantize.args[1:]]
        return self._bind(ir.Call(dequantize.op, arguments, dequantize.attrs, dequantize.ty_args), relax.DataflowVar)

    def _param(self, source: ir.Expr) -> relax.Var:
        at = next((i for i, each in enumerate(self.args) if each.same_as(source)), len(self.args))
        if at == len(self.args):
            self.args.append(source)
            self.params.append(relax.Var(f"p{at}", source.ty))
        return self.params[at]

    def _bind(self, call: ir.Call, kind: type[relax.Var]) -> relax.Var:
        value = self.builder.normalize(call)
        var = kind(f"v{len(self.bindings)}", value.ty)
        self.bindings.append(relax.VarBinding(var, value))
        return var
