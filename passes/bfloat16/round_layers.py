"""Layers become kernels of bfloat16, and what they read is rounded where it is made.

    y = relu(add(conv2d(x, w), b))          h = round(x)
    z = add(y, x)                    ->     y = relu(add(kernel(h, pairs), b))
                                            z = add(y, widen(h))

The rounding is fused into the kernel that makes x, which then writes half as many bytes. Other operators read the rounded numbers too,
where they can widen them in registers; so a residual is rounded once, with what the layers read. Other layers, and the outputs of the
network, get x as it is. The parts of a concatenation are rounded one by one, and lie in it as bfloat16.
"""
from __future__ import annotations

from collections.abc import Iterable

import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...schedules.backend import Backend, LayerConstants
from ...schedules.tir.module_pass import ModulePass, with_main
from ..int8.quantization import is_call
from ..int8.readers import READERS
from ..legalize import call_kernel
from .candidates import HalfLayer, half_layers
from .rounding import round_to_half, widen


@tvm.transform.module_pass(opt_level=0, name="RoundLayers")
class RoundLayers(ModulePass):
    """Replace the layers of `main` that are faster on bfloat16.

    Parameters
    ----------
    backend : Backend
        Has the kernels.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        layers = half_layers(mod["main"], self.backend)
        return with_main(mod, _Rewriter(mod, self.backend, layers)) if layers else mod


class _Values:
    """What is rounded, and who reads it.

    Attributes
    ----------
    rounded : set of relax.Var
        What layers, or concatenations of bfloat16, read as bfloat16.
    concats : set of relax.Var
        Those among them that are concatenations of bfloat16.
    """

    def __init__(self, main: relax.Function, layers: dict[relax.Var, HalfLayer]):
        self.layers = layers
        self.made = {binding.var: binding.value for block in main.body.blocks for binding in block.bindings}
        self.readers: dict[relax.Var, list[relax.Var | None]] = {}  # the variables of results; None is the network's end
        for var, value in self.made.items():
            self._note(relax.analysis.free_vars(value), var)
        self._note(relax.analysis.free_vars(main.body.body), None)
        self.rounded = {layer.data for layer in layers.values()}
        self.concats: set[relax.Var] = set()
        while added := [var for var in self.rounded - self.concats if self._concatenates(var)]:
            self.concats.update(added)
            self.rounded.update(part for var in added for part in self.made[var].args[0].fields)

    def shared(self, var: relax.Var) -> bool:
        """Whether all readers can take the rounded numbers."""
        return all(reader is not None and (reader in self.layers or reader in self.concats or self._joins(reader))
                   for reader in self.readers.get(var, ()))

    def _note(self, variables: Iterable[relax.Var], reader: relax.Var | None) -> None:
        for var in variables:
            self.readers.setdefault(var, []).append(reader)

    def _joins(self, reader: relax.Var) -> bool:
        return is_call(self.made[reader], *READERS) and isinstance(reader.ty, relax.TensorType)

    def _concatenates(self, var: relax.Var) -> bool:
        """Whether all readers of a concatenation can take bfloat16, and its parts are made as such for nobody else's harm."""
        call = self.made.get(var)
        if call is None or not is_call(call, "relax.concat") or not isinstance(call.args[0], ir.Tuple) or not self.shared(var):
            return False
        parts = call.args[0].fields
        return all(isinstance(part, relax.Var) and part in self.made and self.shared(part) for part in parts)


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, backend: Backend, layers: dict[relax.Var, HalfLayer]):
        super().__init__(mod)
        self.backend, self.layers = backend, layers
        self.values = _Values(mod["main"], layers)
        self.halves: dict[relax.Var, relax.Var] = {}  # by the variables of the network

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var = binding.var
        if var in self.values.concats:
            parts = [self._half(part) for part in binding.value.args[0].fields]
            self._keep(var, self.builder_.emit(ir.Call(binding.value.op, [ir.Tuple(parts)], binding.value.attrs)))
            return
        if var in self.layers:
            layer = self.layers[var]
            data = self._half(layer.data)
            call = call_kernel(self.builder_, layer.kernel(self.backend), data, LayerConstants(layer.weight))
            value = self.builder_.normalize(call)
            made = type(var)(var.name, value.ty)
            self.builder_.emit_normalized(relax.VarBinding(made, value))
            self.set_var_remap(var, made)
        else:
            super().visit_var_binding_(binding)
        if var in self.values.rounded:
            half = self.builder_.emit(round_to_half(self.builder_, self.visit_expr(var)))
            if self.values.shared(var):
                self._keep(var, half)
            else:
                self.halves[var] = half

    def _half(self, var: relax.Var) -> relax.Var:
        """What a layer reads. An input of the network is rounded when the first layer asks."""
        if var not in self.halves:
            self.halves[var] = self.builder_.emit(round_to_half(self.builder_, self.visit_expr(var)))
        return self.halves[var]

    def _keep(self, var: relax.Var, half: relax.Var) -> None:
        """Let a variable be bfloat16; who reads it otherwise gets the widened numbers."""
        self.halves[var] = half
        self.set_var_remap(var, self.builder_.emit(widen(self.builder_, half)))
