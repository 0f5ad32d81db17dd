"""Fully connected layers of one image that follow each other, with only element-wise steps between them, become one kernel.

What the first layer reads may be the average of a map that others read as well: then the kernel takes the map. Layers behind it may be
convolutions of the one pixel. So squeeze and excitation has one kernel up to its gate.

    mean -> conv2d -> relu -> conv2d -> sigmoid    ->    matvec_chain -> sigmoid
"""
from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.backend import Backend, EpilogueStep, Kernel, LayerConstants
from ..schedules.shapes import ConvGeometry, DenseWorkload
from ..schedules.tir.module_pass import ModulePass, rewritten
from .convolution_runs import is_average, step_of
from .fuse_chains import NAME_SEPARATOR
from .legalize import call_kernel, dense_weight, plain_convolution
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
        runs = [(run, kernel) for run in find_dense_runs(mod["main"]) if (kernel := kernel_of(run, self.backend)) is not None]
        if not runs:
            return mod
        return rewritten(mod, _Rewriter(mod, runs))


@dataclass(frozen=True)
class Averaged:
    """The average of a channels-last map, (1, H, W, C), that others read too.

    Attributes
    ----------
    source : relax.Var
        The map.
    var : relax.Var
        The variable that holds the average.
    """

    source: relax.Var
    var: relax.Var

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the map."""
        _, height, width, _ = (int(d) for d in self.source.ty.shape)
        return height, width


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
    averaged : Averaged, optional
        What makes its data of a map, if nothing else reads the average.
    steps : list of EpilogueStep
        The steps behind it.
    between : list of relax.Var
        The variables of the steps.
    """

    var: relax.Var
    data: relax.Expr
    weight: np.ndarray
    workload: DenseWorkload
    averaged: Averaged | None = None
    steps: list[EpilogueStep] = field(default_factory=list)
    between: list[relax.Var] = field(default_factory=list)


def kernel_of(run: list[DenseMember], backend: Backend) -> Kernel | None:
    """The kernel of a run; None where each layer gets its own."""
    averaged = run[0].averaged
    return backend.dense_run([layer.workload for layer in run], None if averaged is None else averaged.size)


def find_dense_runs(main: relax.Function) -> list[list[DenseMember]]:
    """Find runs of two and more fully connected layers of one row, in which each is the only reader of the one before.

    Those with convolutions begin with an average; elsewhere a convolution of one pixel has a kernel of its own.
    """
    uses = count_uses(main)
    averages: dict[relax.Var, Averaged] = {}
    convolved: set[relax.Var] = set()
    runs: list[list[DenseMember]] = []
    open_runs: dict[relax.Var, list[DenseMember]] = {}  # by the variable that a run's next layer or step has to read
    for binding in (b for block in main.body.blocks for b in block.bindings):
        call = binding.value
        if not isinstance(binding, relax.VarBinding) or not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op) or not call.args:
            continue
        source = call.args[0]
        run = open_runs.pop(source, None) if isinstance(source, relax.Var) and uses[source] == 1 else None
        weight = _matrix(call)
        if weight is not None and (workload := _workload(call, weight)).rows == 1:
            averaged = None
            if run is None:
                run = []
                runs.append(run)
                averaged = averages.get(source) if uses[source] == 1 else None
            run.append(DenseMember(binding.var, source, weight, workload, averaged))
            if call.op.name == "relax.nn.conv2d":
                convolved.add(binding.var)
        elif run is not None and (step := step_of(call, len(run[-1].weight))) is not None:
            run[-1].steps.append(step)
            run[-1].between.append(binding.var)
        elif is_average(call) and int(call.ty.shape[0]) == 1 and uses[source] > 1:
            averages[binding.var] = Averaged(source, binding.var)
            continue
        else:
            continue
        open_runs[binding.var] = run
    return [run for run in runs if len(run) > 1 and (run[0].averaged is not None or not any(layer.var in convolved for layer in run))]


def _matrix(call: ir.Call) -> np.ndarray | None:
    """The constant weight (F, C) of a fully connected layer: a product, or a convolution of one pixel. None for every other call."""
    plain = plain_convolution(call)
    if plain is None:
        return dense_weight(call)
    geometry, weight = plain
    batch, height, width, _ = (int(d) for d in call.args[0].ty.shape)
    return weight[:, :, 0, 0] if batch == height == width == 1 and geometry == ConvGeometry(geometry.filters, (1, 1)) else None


def _workload(call: ir.Call, weight: np.ndarray) -> DenseWorkload:
    *lead, channels = (int(d) for d in call.args[0].ty.shape)
    return DenseWorkload(prod(lead), channels, weight.shape[0])


@mutator
class _Rewriter(PyExprMutator):
    """Emits one call for a run in the place of its last layer, and nothing for those before."""

    def __init__(self, mod: tvm.IRModule, runs: list[tuple[list[DenseMember], Kernel]]):
        super().__init__(mod)
        self.ends = {run[-1].var: (run, kernel) for run, kernel in runs}
        self.inner = {var for run, _ in runs for layer in run[:-1] for var in (layer.var, *layer.between)}
        self.inner.update(run[0].averaged.var for run, _ in runs if run[0].averaged is not None)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self.inner:
            return
        if binding.var not in self.ends:
            super().visit_var_binding_(binding)
            return
        run, kernel = self.ends[binding.var]
        constants = (LayerConstants(layer.weight, tuple(layer.steps)) for layer in run)
        data = run[0].data if run[0].averaged is None else run[0].averaged.source
        call = self.builder_.normalize(call_kernel(self.builder_, kernel, self.visit_expr(data), *constants))
        var = type(binding.var)(NAME_SEPARATOR.join(layer.var.name for layer in run), call.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, call))
        self.set_var_remap(binding.var, var)
