"""Layers that read dequantized bytes, and whose weights were quantized, become kernels of bytes.

    conv2d(dequantize(q), weight)    ->    float(kernel(q, integers, zero)) * (scale * steps)

The sums of the kernel are exact. What stands behind the layer (bias, activation, a residual, the next quantize) stays as it is, in float32,
and is fused into the kernel later.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ...schedules.backend import Backend, Kernel, LayerConstants
from ...schedules.operators import ELEMENTWISE
from ...schedules.shapes import ConvWorkload
from ...schedules.tir.module_pass import ModulePass, with_main
from ..legalize import call_kernel, dense_weight, dense_workload, plain_convolution
from .arithmetic import quantize_by_product
from .integers import as_integers
from .quantization import Quantization, is_call

LAYERS = ("relax.nn.conv2d", "relax.matmul", "relax.nn.conv2d_transpose", "relax.nn.conv1d", "relax.nn.conv3d")
STEPS = tuple(ELEMENTWISE)


@tvm.transform.module_pass(opt_level=0, name="ByteLayers")
class ByteLayers(ModulePass):
    """Replace the layers of `main` that a target has kernels of bytes for.

    Parameters
    ----------
    backend : Backend
        Has the kernels, and notes which layers are computed in which way.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; nothing changes where nothing is quantized."""
        if not any(is_call(binding.value, "relax.dequantize") for block in mod["main"].body.blocks for binding in block.bindings):
            return mod
        return with_main(mod, _Rewriter(mod, self.backend))


@dataclass(frozen=True)
class _Found:
    """A layer that is computed on bytes."""

    kernel: Kernel
    source: ir.Expr
    quantization: Quantization
    integers: np.ndarray
    steps: np.ndarray = field(repr=False)


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, backend: Backend):
        super().__init__(mod)
        self.backend = backend
        self.behind_layers: set[ir.Expr] = set()  # variables that element-wise operators make of the sums of a layer of bytes

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        call = binding.value
        if is_call(call, *LAYERS):
            self._layer(binding, call)
        elif is_call(call, *STEPS) and any(self._behind_layer(argument) for argument in call.args):
            super().visit_var_binding_(binding)
            self.behind_layers.add(self.visit_expr(binding.var))
        elif not (is_call(call, "relax.quantize") and self._behind_layer(call.args[0]) and self._quantize(binding, call)):
            super().visit_var_binding_(binding)

    def _behind_layer(self, argument: ir.Expr) -> bool:
        return isinstance(argument, relax.Var) and self.visit_expr(argument) in self.behind_layers

    def _quantize(self, binding: relax.VarBinding, call: ir.Call) -> bool:
        wanted = Quantization.of(call)
        quantized = None if wanted is None else quantize_by_product(self.builder_, self.visit_expr(call.args[0]), wanted)
        if quantized is not None:
            self._bind(binding.var, binding.var.name, quantized)
        return quantized is not None

    def _layer(self, binding: relax.VarBinding, old: ir.Call) -> None:
        call = self.visit_expr(old)
        found = self._find(call)
        self.backend.computed_in[binding.var.name] = "int8" if isinstance(found, _Found) else found
        if isinstance(found, str):
            super().visit_var_binding_(binding)
        else:
            var = self._bind(binding.var, f"{binding.var.name}_scaled", self._scaled(binding.var, found, call.ty))
            self.behind_layers.add(var)

    def _bind(self, old: relax.Var, name: str, value: ir.Expr) -> relax.Var:
        """Bind a value to a variable in the place of another one."""
        value = self.builder_.normalize(value)
        var = type(old)(name, value.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, value))
        self.set_var_remap(old, var)
        return var

    def _find(self, call: ir.Call) -> _Found | str:
        """The kernel of a layer, or why it is computed in float32."""
        if not self.backend.on_bytes:
            return f"target {self.backend.target.name} has no kernels of bytes"
        source = self.lookup_binding(call.args[0]) if isinstance(call.args[0], relax.Var) else None
        quantization = Quantization.of(source) if is_call(source, "relax.dequantize") else None
        if quantization is None or source is None:
            return "its input is not quantized as a whole" if is_call(source, "relax.dequantize") else "its input is not quantized"
        if call.op.name == "relax.matmul":
            weight, workload = dense_weight(call), None
            if weight is None:
                return "its weight is not a constant matrix"
        else:
            plain = plain_convolution(call)
            if plain is None:
                return "it is no convolution over two dimensions with a constant weight"
            geometry, weight = plain
            batch, height, width, channels = (int(size) for size in call.args[0].ty.shape)
            workload = ConvWorkload(geometry, (height, width), channels, batch)
        integers = as_integers(weight)
        if integers is None:
            return "its weights are no whole multiples of steps that fit into signed bytes"
        kernel = self.backend.byte_dense(dense_workload(call, weight)) if workload is None else self.backend.byte_convolution(workload)
        if kernel is None:
            return f"target {self.backend.target.name} has no kernel of bytes for it: a kernel or a sum is too large"
        if workload is not None and self.backend.quicker_in_float32(workload):
            return f"target {self.backend.target.name} computes it faster in float32, by Winograd's algorithm, as its model says"
        return _Found(kernel, source.args[0], quantization, *integers)

    def _scaled(self, var: relax.Var, found: _Found, ty: relax.TensorType) -> ir.Expr:
        """Emit the kernel, bound to a variable of the layer's name, and return its sums as numbers."""
        given, source = found.quantization, found.source
        read = given.of_type(self.backend.byte_dtype)
        if read != given:
            shifted = relax.op.add(relax.op.astype(source, "int16"), relax.const(read.zero - given.zero, "int16"))
            source = self.builder_.emit(relax.op.astype(shifted, read.dtype))
        constants = LayerConstants(found.integers, zero=read.zero)
        sums = self.builder_.normalize(call_kernel(self.builder_, found.kernel, source, constants))
        held = relax.DataflowVar(var.name, sums.ty)
        self.builder_.emit_normalized(relax.VarBinding(held, sums))
        value = held if str(sums.ty.dtype) == "float32" else self.builder_.emit(relax.op.astype(held, "float32"))
        scale = (np.float32(read.scale) * found.steps).astype(np.float32).reshape((1,) * (len(ty.shape) - 1) + (-1,))
        return relax.op.multiply(value, relax.const(scale))
