"""The convolution or matrix product of a layer becomes its factor chain, in plain NCHW Relax.

    layer = conv2d(x, W)   ->   layer.0 = conv2d(x, W0);  layer.1 = conv2d(layer.0, W1);  ...
    layer = matmul(x, W)   ->   layer.0 = matmul(x, W0);  layer.1 = matmul(layer.0, W1);  ...
"""
from __future__ import annotations

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..factorization import FactorChain, Stage
from ..schedules.tir.module_pass import ModulePass, rewritten
from ..support.errors import TenfoldError
from .factor_chains import check_names, dense_weight, push_permutations
from .inventory import inventory

# A pass is called through TVM's C++, which turns an error of a class that it does not know into a RuntimeError.
tvm_ffi.register_error(TenfoldError)


@tvm.transform.module_pass(opt_level=0, name="Factorize")
class Factorize(ModulePass):
    """Replace layers by their factor chains.

    Stage i of a layer is bound to a variable called ``<layer>.i``. What comes after the layer, its bias first, stays as it is.

    Parameters
    ----------
    chains : dict of str to FactorChain
        By the names of the layers.

    Raises
    ------
    TenfoldError
        When it runs: a name that is no layer of the module, or a chain that does not fit its layer.
    """

    def __init__(self, chains: dict[str, FactorChain]):
        self.chains = {name: push_permutations(chain) for name, chain in chains.items()}

    def transform_module(self, mod: ir.IRModule, context: tvm.transform.PassContext) -> ir.IRModule:
        """Replace the layers of `main`; the other functions stay."""
        check_names(self.chains, [layer.name for layer in inventory(mod)])
        return rewritten(mod, _Rewriter(mod, self.chains))


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: ir.IRModule, chains: dict[str, FactorChain]):
        super().__init__(mod)
        self.chains = chains

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        chain, call = self.chains.get(binding.var.name), binding.value
        if chain is None or not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op):
            super().visit_var_binding_(binding)
            return
        name = binding.var.name
        emit_stage = {"relax.nn.conv2d": self._conv, "relax.matmul": self._matmul}.get(call.op.name)
        if emit_stage is None:
            raise TenfoldError(f"layer {name!r} is a {call.op.name.removeprefix('relax.')}, which has no factored form")
        value = self.visit_expr(call.args[0])
        axis = 1 if call.op.name == "relax.nn.conv2d" else -1
        given, wanted = chain.stages[0].in_channels, int(value.ty.shape.values[axis])
        if given != wanted:
            raise TenfoldError(f"the chain does not fit the layer {name!r}: it reads {given} channels, the layer {wanted}")
        try:
            for i, stage in enumerate(chain.stages):
                value = self._ordered(value, stage.input_permutation, axis, f"{name}.{i}.order")
                value = emit_stage(value, stage, f"{name}.{i}", type(binding.var))
            value = self._ordered(value, chain.permutation, axis, f"{name}.order")
        except ValueError as error:
            raise TenfoldError(f"the chain does not fit the layer {name!r}: {error}") from None
        if not tvm_ffi.structural_equal(value.ty, binding.var.ty):
            raise TenfoldError(f"the chain does not fit the layer {name!r}: it makes {value.ty}, the layer {binding.var.ty}")
        self.set_var_remap(binding.var, value)

    def _emit(self, call: ir.Expr, name: str, kind: type[relax.Var]) -> relax.Var:
        # Not builder_.emit: that replaces the dots in a name.
        call = self.builder_.normalize(call)
        var = kind(name, call.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, call))
        return var

    def _conv(self, data: ir.Expr, stage: Stage, name: str, kind: type[relax.Var]) -> relax.Var:
        stage.output_size(*(int(size) for size in data.ty.shape.values[2:]))  # ValueError where the kernel does not fit
        result = relax.op.nn.conv2d(
            data, relax.const(stage.weight), strides=stage.stride, padding=stage.padding, dilation=stage.dilation, groups=stage.groups
        )
        result = self._emit(result, name, kind)
        if stage.bias is None:
            return result
        return self._emit(relax.op.add(result, relax.const(stage.bias.reshape(1, -1, 1, 1))), f"{name}.bias", kind)

    def _matmul(self, data: ir.Expr, stage: Stage, name: str, kind: type[relax.Var]) -> relax.Var:
        result = self._emit(relax.op.matmul(data, relax.const(dense_weight(stage))), name, kind)
        return result if stage.bias is None else self._emit(relax.op.add(result, relax.const(stage.bias)), f"{name}.bias", kind)

    def _ordered(self, data: ir.Expr, order: np.ndarray | None, axis: int, name: str) -> ir.Expr:
        if order is None:
            return data
        return self._emit(relax.op.take(data, relax.const(order.astype("int64")), axis=axis, mode="clip"), name, relax.DataflowVar)
