"""Convolutions that follow each other, with element-wise steps and max-pooling between, become one kernel where the model says it pays.

So does a single one that would need a padded copy of its input, or a permutation of its channels, which a kernel of ours only reads in that
order. Where the image comes as (N, C, H, W), or is wanted so, the kernel may transpose it itself.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..schedules.x86.chain import STEPS, WITH_OPERAND, Ends, activated, chain
from ..schedules.x86.chain_model import Segment, segments
from ..schedules.x86.chain_options import Link
from ..schedules.x86.chain_stage import layouts, pack_chain
from ..schedules.x86.conv2d import Geometry
from ..schedules.x86.groups import block_diagonal
from ..schedules.x86.winograd import pack_winograd, winograd
from ..targets import Target
from .channel_orders import order_of
from .legalize import FUSABLE, plain_convolution
from .uses import count_uses

TO_CHANNELS_LAST, FROM_CHANNELS_LAST = (0, 2, 3, 1), (0, 3, 1, 2)
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


@dataclass
class Convolution:
    """A convolution of a run: its variable, what it reads, its geometry and weight (OIHW), and the steps behind it.

    Without a weight it is a max-pooling or, if it `averages`, the average over the whole image.
    """

    var: relax.Var
    data: relax.Expr
    geometry: Geometry
    weight: np.ndarray | None
    gather: ir.Call | None = None  # that brings the channels into order before it, its only reader
    averages: bool = False
    steps: list[tuple] = field(default_factory=list)  # as `ChainStage` has them, with arrays in the place of operands
    between: list[relax.Var] = field(default_factory=list)  # the variables of the steps
    entering: relax.Expr | None = None  # the image as (N, C, H, W) that only this convolution reads, permuted
    leaving: relax.Var | None = None  # the permuted result, its only reader

    @property
    def source(self) -> relax.Expr:
        """What it reads, before its channels are brought into order."""
        return self.data if self.gather is None else self.gather.args[0]

    def link(self) -> Link:
        batch, height, width, channels = (int(d) for d in self.data.ty.shape)
        return Link(self.geometry, (height, width), channels, batch, self.gather is not None, self.weight is None and not self.averages,
                    self.averages)


def find_runs(main: relax.Function) -> list[list[Convolution]]:
    """Runs of convolutions, and of pooling behind them, each the only reader of the one before; most of one convolution alone."""
    uses, bindings = count_uses(main), [b for block in main.body.blocks for b in block.bindings if isinstance(b, relax.VarBinding)]
    runs: list[list[Convolution]] = []
    entering: dict[relax.Var, relax.Expr] = {}  # images as (N, C, H, W), by the variables of their permuted forms
    gathers: dict[relax.Var, ir.Call] = {}
    open_runs: dict[relax.Var, list[Convolution]] = {}  # by the variable that a run's next convolution or step has to read
    for binding in bindings:
        value = binding.value
        if not isinstance(value, ir.Call) or not isinstance(value.op, ir.Op):
            continue
        source = value.args[0] if value.args else None
        run = open_runs.pop(source, None) if isinstance(source, relax.Var) and uses[source] == 1 else None
        gather = gathers.get(source) if uses[source] == 1 else None
        plain = plain_convolution(value) or (_max_pool(value) if run is not None and gather is None else None)
        if plain is not None:
            if run is None:
                run = []
                runs.append(run)
            run.append(Convolution(binding.var, source, *plain, gather))
            if uses[source] == uses[run[-1].source] == 1:
                run[-1].entering = entering.get(run[-1].source)
        elif run is not None and gather is None and _averages(value):
            geometry = Geometry(run[-1].geometry.filters, run[-1].link().output, groups=run[-1].geometry.filters)
            run.append(Convolution(binding.var, source, geometry, None, averages=True))
            continue
        elif order_of(value, axis=3) is not None:
            gathers[binding.var] = value
            if run is None or gather is not None:
                continue
        elif run is not None and gather is None and (step := step_of(value, run[-1].geometry.filters)) is not None:
            run[-1].steps.append(step)
            run[-1].between.append(binding.var)
        else:
            axes = _permuted(value)
            if axes == TO_CHANNELS_LAST:
                entering[binding.var] = source
            elif run is not None and gather is None and axes == FROM_CHANNELS_LAST:
                run[-1].leaving = binding.var
            continue
        open_runs[binding.var] = run
    return runs


def _max_pool(call: ir.Call) -> tuple[Geometry, None] | None:
    """The geometry of a channels-last float32 max-pooling whose windows begin on the image; None for every other call."""
    if call.op.name != "relax.nn.max_pool2d" or call.attrs.layout != "NHWC" or str(call.ty.dtype) != "float32":
        return None
    _, height, width, channels = (int(size) for size in call.args[0].ty.shape)
    kernel, strides, padding, dilation = (tuple(int(value) for value in values) for values in (
        call.attrs.pool_size, call.attrs.strides, call.attrs.padding, call.attrs.dilation))
    geometry = Geometry(channels, kernel, strides, padding, dilation, channels)
    _, *output, _ = (int(size) for size in call.ty.shape)
    return (geometry, None) if geometry.output(height, width) == tuple(output) else None  # of `ceil_mode` there may be more


def _averages(call: ir.Call) -> bool:
    """Whether a call gives the average of each channel of a channels-last float32 image, as an image of one pixel."""
    if call.op.name != "relax.mean" or not call.attrs.keepdims or str(call.ty.dtype) != "float32" or call.attrs.axis is None:
        return False
    shape = [int(size) for size in call.args[0].ty.shape]
    return sorted(int(axis) for axis in call.attrs.axis) == [1, 2] and len(shape) == 4 and shape[1] * shape[2] > 1


def _permuted(call: ir.Call) -> tuple[int, ...] | None:
    """The axes of a permute of float32 numbers; None for every other call."""
    if call.op.name != "relax.permute_dims" or str(call.ty.dtype) != "float32" or call.attrs.axes is None:
        return None
    return tuple(int(axis) for axis in call.attrs.axes)


def step_of(call: ir.Call, channels: int) -> tuple | None:
    """An element-wise call as a step, with an array of one value per channel in the place of its operand."""
    name = call.op.name
    if name not in STEPS or str(call.ty.dtype) != "float32":
        return None
    if name == "relax.clip":
        return (name, *(float(bound.value.value if hasattr(bound.value, "value") else bound.value) for bound in call.args[1:]))
    if name not in WITH_OPERAND:
        return (name,)
    operand = call.args[1]
    if not isinstance(operand, ir.Constant):
        return None
    values = operand.value.numpy()
    if values.size == 1:
        values = np.full(channels, values.reshape(()), "float32")
    elif values.shape[-1] != channels or values.size != channels:
        return None
    return name, values.reshape(channels)


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
            steps = []
            if convolution.gather is not None:
                order = order_of(convolution.gather, axis=3)
                operands.append((order if source is None else source.places(order)).astype("int32"))
                stage = replace(stage, table=len(operands) - 1)
            source = layout
            at_end = convolution is convolutions[-1]
            for name, *arguments in convolution.steps if not at_end or segment.ends.result_nchw or segment.averages else ():
                if name in WITH_OPERAND:
                    operands.append(arguments[0] if at_end else layout.spread(arguments[0]))  # a result's channels are in order
                    arguments = [len(operands) - 1]
                steps.append((name, *arguments))
            stages.append(replace(stage, steps=tuple(steps)))
        merged = [None if c.weight is None else block_diagonal(c.weight, c.geometry.groups, c.geometry.groups // stage.geometry.groups)
                  for c, stage in zip(convolutions, stages, strict=True)]
        weights = pack_chain(merged, stages, lanes)
        count, first = len(weights), convolutions[0]

        def compute(x, *constants):
            return chain(x, constants[:count], constants[count:], stages, segment.rows, lanes, segment.ends, segment.averages)

        constants = [relax.const(array) for array in (*weights, *operands)]
        data = self.visit_expr(first.entering if segment.ends.source_nchw else first.source)
        name = "chain" if len(stages) > 1 else "conv2d"
        return self.builder_.call_te(compute, data, *constants, primfunc_name_hint=name, primfunc_attrs=FUSABLE)

    def _pooled_call(self, convolutions: list[Convolution], segment: Segment) -> ir.Call:
        """Of a Winograd convolution with the max-pooling behind it; steps behind that are left in the graph."""
        convolution, operands, steps = convolutions[0], [], []
        for name, *arguments in convolution.steps:
            if name in WITH_OPERAND:
                operands.append(arguments[0])
                arguments = [len(operands) - 1]
            steps.append((name, *arguments))

        def compute(x, weight, *values):
            return winograd(x, weight, convolution.geometry, segment.blocking, lambda value, f: activated(value, steps, values, f))

        constants = [relax.const(array) for array in (pack_winograd(convolution.weight, segment.blocking, self.target.lanes), *operands)]
        data = self.visit_expr(convolution.data)
        return self.builder_.call_te(compute, data, *constants, primfunc_name_hint="winograd", primfunc_attrs=FUSABLE)
