"""Convolutions that follow each other, with element-wise steps and pooling between, become one kernel where the backend says it pays.

So does a single one that would need a padded copy of its input, or a permutation of its channels: such a kernel reads its input in that
order. Where the image comes as (N, C, H, W), or is wanted so, the kernel may transpose it itself.
"""
from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.backend import Backend, Kernel
from ..schedules.tir.module_pass import ModulePass, rewritten
from .convolution_runs import ConvolutionMember, find_runs
from .legalize import call_kernel

# Between the names of the layers in the name of a chain's variable. The weights of these layers are its first constants, in that order.
NAME_SEPARATOR = " + "


@tvm.transform.module_pass(opt_level=0, name="FuseChains")
class FuseChains(ModulePass):
    """Replace each run of convolutions in a channels-last module by calls of fused kernels.

    Parameters
    ----------
    backend : Backend
        Decides which convolutions join.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        rewriter = _Rewriter(mod, self.backend)
        for run in find_runs(mod["main"]):
            rewriter.plan(run)
        if not rewriter.ends:
            return mod
        return rewritten(mod, rewriter)


@dataclass(frozen=True)
class _Fused:
    """A part of a run that becomes one kernel."""

    convolutions: list[ConvolutionMember]
    kernel: Kernel
    source: relax.Expr  # what the kernel reads
    factors: relax.Expr | None = None  # of the channels of what it reads


@mutator
class _Rewriter(PyExprMutator):
    """Emits one call for a part of a run in the place of its last convolution, and nothing for those before."""

    def __init__(self, mod: tvm.IRModule, backend: Backend):
        super().__init__(mod)
        self.backend = backend
        self.ends: dict[relax.Var, _Fused] = {}  # by the variable that holds the result
        self.inner: set[relax.Var] = set()

    def plan(self, run: list[ConvolutionMember]) -> None:
        """Cut a run into kernels."""
        begin = 0
        workloads = [convolution.workload() for convolution in run]
        for part in self.backend.convolution_run(workloads, run[0].entering is not None, run[-1].leaving is not None):
            convolutions = run[begin : begin + part.count]
            begin += part.count
            kernel, gate = part.kernel, convolutions[0].gate
            if kernel is None and gate is not None:
                kernel = self.backend.convolution(workloads[begin - 1])
            if kernel is None or (part.kernel is None and not kernel.takes_gate):
                continue
            if not kernel.takes_gate:
                gate = None
            last = convolutions[-1].var
            if part.source_nchw:
                self.inner.add(convolutions[0].source)
            self.inner.update(c.data for c in convolutions if c.gather is not None)
            if part.result_nchw:
                self.inner.update([last, *convolutions[-1].between])
                last = convolutions[-1].leaving
            source = convolutions[0].entering if part.source_nchw else convolutions[0].source
            if gate is not None:
                self.inner.add(convolutions[0].source)
                source = gate.image
            self.ends[last] = _Fused(convolutions, kernel, source, None if gate is None else gate.numbers)
            for convolution in convolutions[:-1]:
                self.inner.update([convolution.var, *convolution.between])

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self.inner:
            return
        if binding.var not in self.ends:
            super().visit_var_binding_(binding)
            return
        fused = self.ends[binding.var]
        convolutions, data = fused.convolutions, self.visit_expr(fused.source)
        factors = None if fused.factors is None else self.visit_expr(fused.factors)
        constants = (c.constants() for c in convolutions)
        call = self.builder_.normalize(call_kernel(self.builder_, fused.kernel, data, *constants, factors=factors))
        var = type(binding.var)(NAME_SEPARATOR.join(c.var.name for c in convolutions if c.weight is not None), call.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, call))
        self.set_var_remap(binding.var, var)
