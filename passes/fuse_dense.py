"""Fully connected layers of one image that follow each other, with only element-wise steps between them, become one kernel."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.backend import Backend, EpilogueStep, Kernel, LayerConstants
from ..schedules.shapes import DenseWorkload
from ..schedules.tir.module_pass import ModulePass
from .convolution_runs import step_of
from .fuse_chains import NAME_SEPARATOR
from .legalize import call_kernel, dense_weight, dense_workload
from .use_counts import count_uses


@tvm.transform.module_pass(opt_level=0, name="FuseDense")
class FuseDense(ModulePass):
    """Replace each run of products of one row and constant matrices by the call of one kernel.

    Parameters
    ----------
    backend : Backend
        Has the kernel of a run.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite `main`; the other functions stay."""
        found = [(run, self.backend.dense_run([layer.workload for layer in run])) for run in find_dense_runs(mod["main"])]
        runs = [(run, kernel) for run, kernel in found if kernel is not None]
        if not runs:
            return mod
        rewriter = _Rewriter(mod, runs)
        main = rewriter.visit_expr(mod["main"])
        rewriter.builder_.update_func(mod.get_global_var("main"), main)
        return rewriter.builder_.get()


@dataclass
class DenseMember:
    """A layer of a run, and the element-wise steps behind it.

    Attributes
    ----------
    var : relax.Var
        The variable that holds its result.
    data : relax.Expr
        What it reads.
    weight : ndarray
        (F, C).
    workload : DenseWorkload
        What it computes.
    steps : list of EpilogueStep
        The steps behind it.
    between : list of relax.Var
        The variables of the steps.
    """

    var: relax.Var
    data: relax.Expr
    weight: np.ndarray
    workload: DenseWorkload
    steps: list[EpilogueStep] = field(default_factory=list)
    between: list[relax.Var] = field(default_factory=list)


def find_dense_runs(main: relax.Function) -> list[list[DenseMember]]:
    """Find runs of two and more fully connected layers of one row, in which each is the only reader of the one before."""
    uses = count_uses(main)
    runs: list[list[DenseMember]] = []
    open_runs: dict[relax.Var, list[DenseMember]] = {}  # by the variable that a run's next layer or step has to read
    for binding in (b for block in main.body.blocks for b in block.bindings):
        call = binding.value
        if not isinstance(binding, relax.VarBinding) or not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op) or not call.args:
            continue
        source = call.args[0]
        run = open_runs.pop(source, None) if isinstance(source, relax.Var) and uses[source] == 1 else None
        weight = dense_weight(call)
        if weight is not None and (workload := dense_workload(call, weight)).rows == 1:
            if run is None:
                run = []
                runs.append(run)
            run.append(DenseMember(binding.var, source, weight, workload))
        elif run is not None and (step := step_of(call, len(run[-1].weight))) is not None:
            run[-1].steps.append(step)
            run[-1].between.append(binding.var)
        else:
            continue
        open_runs[binding.var] = run
    return [run for run in runs if len(run) > 1]


@mutator
class _Rewriter(PyExprMutator):
    """Emits one call for a run in the place of its last layer, and nothing for those before."""

    def __init__(self, mod: tvm.IRModule, runs: list[tuple[list[DenseMember], Kernel]]):
        super().__init__(mod)
        self.ends = {run[-1].var: (run, kernel) for run, kernel in runs}
        self.inner = {var for run, _ in runs for layer in run[:-1] for var in (layer.var, *layer.between)}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self.inner:
            return
        if binding.var not in self.ends:
            super().visit_var_binding_(binding)
            return
        run, kernel = self.ends[binding.var]
        constants = (LayerConstants(layer.weight, tuple(layer.steps)) for layer in run)
        call = self.builder_.normalize(call_kernel(self.builder_, kernel, self.visit_expr(run[0].data), *constants))
        var = type(binding.var)(NAME_SEPARATOR.join(layer.var.name for layer in run), call.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, call))
        self.set_var_remap(binding.var, var)
