"""Fully connected layers of one image that follow each other, with nothing but element-wise steps between them, become one kernel."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.cpu.chain.compute import WITH_OPERAND
from ..schedules.cpu.dense.matvec import pack_matrix
from ..schedules.cpu.dense.matvec_chain import DenseStage, choose_chain, matvec_chain, stored_outputs
from ..targets import Target
from .convolution_runs import step_of
from .fuse_chains import JOINED
from .legalize import FUSABLE, one_row
from .use_counts import count_uses


@tvm.transform.module_pass(opt_level=0, name="FuseDense")
class FuseDense:
    """Replace runs of `matmul` of one row by calls of one TensorIR function each.

    Parameters
    ----------
    target : Target
        Its cores decide how outputs are grouped.
    """

    def __init__(self, target: Target):
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        runs = find_dense_runs(mod["main"])
        if not runs:
            return mod
        rewriter = _Rewriter(mod, self.target, runs)
        main = rewriter.visit_expr(mod["main"])
        rewriter.builder_.update_func(mod.get_global_var("main"), main)
        return rewriter.builder_.get()


@dataclass
class Dense:
    """A layer of a run: its variable, what it reads, its weight (OI), and the steps behind it, arrays in the place of operands."""

    var: relax.Var
    data: relax.Expr
    weight: np.ndarray
    steps: list[tuple] = field(default_factory=list)
    between: list[relax.Var] = field(default_factory=list)


def find_dense_runs(main: relax.Function) -> list[list[Dense]]:
    """Runs of two and more fully connected layers of one row, each the only reader of the one before."""
    uses, runs = count_uses(main), []
    open_runs: dict[relax.Var, list[Dense]] = {}  # by the variable that a run's next layer or step has to read
    for binding in (b for block in main.body.blocks for b in block.bindings):
        call = binding.value
        if not isinstance(binding, relax.VarBinding) or not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op) or not call.args:
            continue
        source = call.args[0]
        run = open_runs.pop(source, None) if isinstance(source, relax.Var) and uses[source] == 1 else None
        weight = one_row(call)
        if weight is not None:
            if run is None:
                run = []
                runs.append(run)
            run.append(Dense(binding.var, source, weight))
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

    def __init__(self, mod: tvm.IRModule, target: Target, runs: list[list[Dense]]):
        super().__init__(mod)
        self.target = target
        self.ends = {run[-1].var: run for run in runs}
        self.inner = {var for run in runs for layer in run[:-1] for var in (layer.var, *layer.between)}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self.inner:
            return
        if binding.var not in self.ends:
            super().visit_var_binding_(binding)
            return
        run = self.ends[binding.var]
        call = self.builder_.normalize(self._call(run))
        var = type(binding.var)(JOINED.join(layer.var.name for layer in run), call.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, call))
        self.set_var_remap(binding.var, var)

    def _call(self, run: list[Dense]) -> ir.Call:
        grouped = choose_chain(run[0].weight.shape[1], [len(layer.weight) for layer in run], self.target)
        weights = [pack_matrix(layer.weight, streams, self.target.lanes) for layer, streams in zip(run, grouped, strict=True)]
        stages, operands = [], []
        for layer, streams, packed in zip(run, grouped, weights, strict=True):
            steps = []
            for name, *arguments in layer.steps if layer is not run[-1] else ():
                if name in WITH_OPERAND:
                    operands.append(np.pad(arguments[0], (0, stored_outputs(packed.shape) - len(arguments[0]))))
                    arguments = [len(operands) - 1]
                steps.append((name, *arguments))
            stages.append(DenseStage(len(layer.weight), streams, tuple(steps)))
        constants = [relax.const(array) for array in (*weights, *operands)]

        def compute(x, *arrays):
            return matvec_chain(x, arrays[: len(run)], arrays[len(run) :], stages)

        data = self.visit_expr(run[0].data)
        return self.builder_.call_te(compute, data, *constants, primfunc_name_hint="matvec_chain", primfunc_attrs=FUSABLE)
