"""Operators that only move or compare values work on bytes: a dequantize goes behind them, and meets the quantize that undoes it.

    quantize(max_pool2d(dequantize(q)))              ->    max_pool2d(q)
    quantize(concat(dequantize(a), dequantize(b)))   ->    concat(a, quantize(dequantize(b)))      of b, where it has another scale
    quantize(x) as int8                              ->    quantize(x) as uint8, with 128 more         where kernels read such bytes;
    quantize(x) as uint8                             ->    quantize(x) as int8, with 128 less           where they read those

All of this is exact. Bytes that the network takes or gives keep their type.
"""
from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...schedules.tir.module_pass import ModulePass, with_main
from .quantization import Quantization, is_call

# Of one tensor: each result is one of its values. A window of a pool that lies on padding alone gives the smallest value, in bytes too.
MOVING = ("relax.nn.max_pool2d", "relax.reshape", "relax.permute_dims", "relax.expand_dims", "relax.squeeze", "relax.flatten",
          "relax.strided_slice")


@tvm.transform.module_pass(opt_level=0, name="StayInBytes")
class StayInBytes(ModulePass):
    """Rewrite `main`; the other functions stay.

    Parameters
    ----------
    dtype : str
        Of the bytes that kernels read: ``uint8`` or ``int8``.
    """

    def __init__(self, dtype: str):
        self.dtype = dtype

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`, and drop what nothing reads any more."""
        return with_main(mod, _Rewriter(mod, self.dtype))


@dataclass(frozen=True)
class _Bytes:
    """What a float32 variable is: bytes, dequantized."""

    bytes: ir.Expr
    quantization: Quantization


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, dtype: str):
        super().__init__(mod)
        self.dtype = dtype
        self.known: dict[ir.Expr, _Bytes] = {}  # by a float32 variable
        self.parts: dict[ir.Expr, tuple[list[ir.Expr], ir.Call]] = {}  # of a concatenation, by its variable
        self.only_dequantized = _only_dequantized(mod["main"], dtype)
        self.shifted: dict[ir.Expr, ir.Expr] = {}  # variables that are not made any more -> those of the type that kernels read

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        call = binding.value
        if not isinstance(call, ir.Call) or not self._rewritten(binding, call):
            super().visit_var_binding_(binding)

    def _rewritten(self, binding: relax.VarBinding, call: ir.Call) -> bool:
        if is_call(call, "relax.quantize"):
            return isinstance(binding.var, relax.DataflowVar) and self._quantize(binding, call)  # an output stays a variable of its own
        if is_call(call, "relax.dequantize"):
            return self._dequantize(binding, call)
        if is_call(call, *MOVING):
            source = self.known.get(self._new(call.args[0]))
            if source is not None:
                moved = ir.Call(call.op, [source.bytes, *call.args[1:]], call.attrs, call.ty_args)
                self._keep(binding, self.builder_.emit(moved), source.quantization)
            return source is not None
        if is_call(call, "relax.concat") and isinstance(call.args[0], ir.Tuple):
            return self._concat(binding, call)
        return False

    def _quantize(self, binding: relax.VarBinding, call: ir.Call) -> bool:
        wanted, source = Quantization.of(call), self._new(call.args[0])
        if wanted is None:
            return False
        made = wanted.of_type(self.dtype) if binding.var in self.only_dequantized else wanted
        found = self.known.get(source)
        if found is not None and found.quantization == made:
            result = found.bytes
        elif source in self.parts:
            parts, concat = self.parts[source]
            result = self.builder_.emit(ir.Call(concat.op, [ir.Tuple([self._as(part, made) for part in parts])], concat.attrs))
        elif made == wanted:
            return False
        else:
            result = self.builder_.emit(made.quantize(source))
        self.set_var_remap(binding.var, result)
        if made != wanted:
            self.shifted[binding.var] = result
        return True

    def _as(self, part: ir.Expr, wanted: Quantization) -> ir.Expr:
        """A part of a concatenation in bytes."""
        found = self.known.get(part)
        if found is not None and found.quantization == wanted:
            return found.bytes
        return self.builder_.emit(wanted.quantize(part))

    def _dequantize(self, binding: relax.VarBinding, call: ir.Call) -> bool:
        given, source = Quantization.of(call), call.args[0]
        if given is None:
            return False
        if source in self.shifted:
            self._keep(binding, self.shifted[source], given.of_type(self.dtype))
        else:
            self._keep(binding, self._new(source), given)
        return True

    def _concat(self, binding: relax.VarBinding, call: ir.Call) -> bool:
        parts = [self._new(part) for part in call.args[0].fields]
        found = [self.known[part] for part in parts if part in self.known]
        if not found:
            return False
        if len(found) == len(parts) and len({each.quantization for each in found}) == 1:
            joined = self.builder_.emit(ir.Call(call.op, [ir.Tuple([each.bytes for each in found])], call.attrs))
            self._keep(binding, joined, found[0].quantization)
            return True
        super().visit_var_binding_(binding)
        self.parts[self._new(binding.var)] = parts, call
        return True

    def _keep(self, binding: relax.VarBinding, bytes_: ir.Expr, quantization: Quantization) -> None:
        """Bind the variable to bytes that are dequantized, for those that read numbers; it is dropped where nobody does."""
        value = self.builder_.normalize(quantization.dequantize(bytes_))
        var = type(binding.var)(binding.var.name, value.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, value))
        self.set_var_remap(binding.var, var)
        self.known[var] = _Bytes(bytes_, quantization)

    def _new(self, expr: ir.Expr) -> ir.Expr:
        return self.visit_expr(expr)


def _only_dequantized(main: relax.Function, dtype: str) -> set[ir.Expr]:
    """The variables of bytes of the other type that nothing but a dequantize reads, whose scale and zero point are those of all readers."""
    made: dict[ir.Expr, Quantization] = {}
    other: set[ir.Expr] = set()
    for binding in (b for block in main.body.blocks for b in block.bindings):
        call = binding.value
        found = Quantization.of(call) if isinstance(call, ir.Call) else None
        if found is not None and call.op.name == "relax.quantize" and found.dtype != dtype:
            made[binding.var] = found
        if found is not None and call.op.name == "relax.dequantize" and call.args[0] in made:
            continue
        other |= set(relax.analysis.free_vars(call))
    other |= set(relax.analysis.free_vars(main.body.body))
    return set(made) - other
