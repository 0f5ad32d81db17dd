"""Convolutions that follow each other, with element-wise steps and max-pooling between, become one kernel where the model says it pays.

So does a single one that would need a padded copy of its input, or a permutation of its channels, which a kernel of ours only reads in that
order. Where the image comes as (N, C, H, W), or is wanted so, the kernel may transpose it itself.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.cpu.chain.compute import WITH_OPERAND, Ends, activated, chain
from ..schedules.cpu.chain.partition import Segment, segments
from ..schedules.cpu.chain.stage import ChannelLayout, layouts, pack_chain
from ..schedules.cpu.conv2d.groups import block_diagonal
from ..schedules.cpu.winograd.compute import pack_winograd, winograd
from ..targets import Target
from .convolution_runs import Convolution, find_runs
from .fold_permutations import order_of
from .legalize import FUSABLE

JOINED = " + "  # between the names of the layers in the name of a chain's variable; its weights are its first constants, in that order


@tvm.transform.module_pass(opt_level=0, name="FuseChains")
class FuseChains:
    """Replace runs of `conv2d` in a channels-last module by calls of one TensorIR function each.

    Parameters
    ----------
    target : Target
        Its caches and cores decide which convolutions join.
    """

    def __init__(self, target: Target):
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        rewriter = _Rewriter(mod, self.target)
        for run in find_runs(mod["main"]):
            rewriter.plan(run)
        if not rewriter.ends:
            return mod
        main = rewriter.visit_expr(mod["main"])
        rewriter.builder_.update_func(mod.get_global_var("main"), main)
        return rewriter.builder_.get()


@mutator
class _Rewriter(PyExprMutator):
    """Emits one call for a segment in the place of its last convolution, and nothing for those before."""

    def __init__(self, mod: tvm.IRModule, target: Target):
        super().__init__(mod)
        self.target = target
        self.ends: dict[relax.Var, tuple[list[Convolution], Segment]] = {}
        self.inner: set[relax.Var] = set()

    def plan(self, run: list[Convolution]) -> None:
        """Cut a run into kernels."""
        begin = 0
        wanted = Ends(run[0].entering is not None, run[-1].leaving is not None)
        for segment in segments([c.link() for c in run], self.target, wanted):
            convolutions = run[begin : begin + segment.count]
            begin += segment.count
            if not segment.stages and segment.blocking is None:
                continue
            last = convolutions[-1].var
            if segment.ends.source_nchw:
                self.inner.add(convolutions[0].source)
            self.inner.update(c.data for c in convolutions if c.gather is not None)
            if segment.ends.result_nchw:
                self.inner.update([last, *convolutions[-1].between])
                last = convolutions[-1].leaving
            self.ends[last] = convolutions, segment
            for convolution in convolutions[:-1]:
                self.inner.update([convolution.var, *convolution.between])

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self.inner:
            return
        if binding.var not in self.ends:
            super().visit_var_binding_(binding)
            return
        convolutions, segment = self.ends[binding.var]
        emit = self._call if segment.blocking is None else self._pooled_call
        call = self.builder_.normalize(emit(convolutions, segment))
        var = type(binding.var)(JOINED.join(c.var.name for c in convolutions if c.weight is not None), call.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, call))
        self.set_var_remap(binding.var, var)

    def _call(self, convolutions: list[Convolution], segment: Segment) -> ir.Call:
        lanes = self.target.lanes
        stages, operands, source = [], [], None
        convolutions = convolutions[: len(segment.stages)]
        for convolution, stage, layout in zip(convolutions, segment.stages, layouts(segment.stages, lanes), strict=True):
            if convolution.gather is not None:
                order = order_of(convolution.gather, axis=3)
                operands.append((order if source is None else source.places(order)).astype("int32"))
                stage = replace(stage, table=len(operands) - 1)
            source = layout
            if convolution is not convolutions[-1]:
                stage = replace(stage, steps=_numbered(convolution.steps, operands, layout))
            elif segment.ends.result_nchw or segment.averages:
                own = layout if segment.averages and stage.adds_up_in_own_order else None
                stage = replace(stage, steps=_numbered(convolution.steps, operands, own))
            stages.append(stage)
        merged = [None if c.weight is None else block_diagonal(c.weight, c.geometry.groups, c.geometry.groups // stage.geometry.groups)
                  for c, stage in zip(convolutions, stages, strict=True)]
        weights = pack_chain(merged, stages, lanes)
        count, first = len(weights), convolutions[0]

        def compute(x, *constants):
            return chain(x, constants[:count], constants[count:], stages, segment.cut, lanes, segment.ends, segment.averages)

        constants = [relax.const(array) for array in (*weights, *operands)]
        data = self.visit_expr(first.entering if segment.ends.source_nchw else first.source)
        name = "chain" if len(stages) > 1 else "conv2d"
        return self.builder_.call_te(compute, data, *constants, primfunc_name_hint=name, primfunc_attrs=FUSABLE)

    def _pooled_call(self, convolutions: list[Convolution], segment: Segment) -> ir.Call:
        """Of a Winograd convolution with the max-pooling behind it; steps behind that are left in the graph."""
        convolution, operands = convolutions[0], []
        steps = _numbered(convolution.steps, operands)

        def compute(x, weight, *values):
            return winograd(x, weight, convolution.geometry, segment.blocking, lambda value, f: activated(value, steps, values, f))

        constants = [relax.const(array) for array in (pack_winograd(convolution.weight, segment.blocking, self.target.lanes), *operands)]
        data = self.visit_expr(convolution.data)
        return self.builder_.call_te(compute, data, *constants, primfunc_name_hint="winograd", primfunc_attrs=FUSABLE)


def _numbered(steps: Sequence[tuple], operands: list[np.ndarray], layout: ChannelLayout | None = None) -> tuple[tuple, ...]:
    """Steps that name their arrays by number, after these were added to the operands; in order, or as channels lie in a layout."""
    found = []
    for name, *arguments in steps:
        if name in WITH_OPERAND:
            operands.append(arguments[0] if layout is None else layout.spread(arguments[0]))
            arguments = [len(operands) - 1]
        found.append((name, *arguments))
    return tuple(found)
