"""Runs of convolutions in a channels-last graph, with the operators between and behind them that can be part of their kernel."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tvm import ir, relax

from ..schedules.backend import EpilogueStep, LayerConstants
from ..schedules.operators import DEAR, HARD_SWISH, READ_TWICE, has_operand, is_step
from ..schedules.shapes import ConvGeometry, ConvWorkload
from .epilogues import bound
from .fold_permutations import order_of
from .hard_swish import find_hard_swishes
from .legalize import pair, plain_convolution, sides
from .use_counts import count_uses

WEIGHT_COST = 2  # times the time of an input's number, to scale a number of a weight: it is read and written, and read by another core
TO_CHANNELS_LAST, FROM_CHANNELS_LAST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Gate:
    """A product of an image and one number for each channel, as squeeze and excitation ends.

    Attributes
    ----------
    image, numbers : relax.Var
        (1, H, W, C) and (1, 1, 1, C).
    """

    image: relax.Var
    numbers: relax.Var


@dataclass
class ConvolutionMember:
    """A convolution of a run, and the element-wise steps behind it.

    Attributes
    ----------
    var : relax.Var
        The variable that holds its result.
    data : relax.Expr
        What it reads.
    geometry : ConvGeometry
        Its attributes.
    weight : ndarray, optional
        (F, C / groups, KH, KW). Without one it is a max-pooling or, if it `averages`, the average over the whole image.
    gather : ir.Call, optional
        The call that puts the channels in another order before it, if nothing else reads the result of that call.
    averages : bool
        It is the average over the whole image.
    gate : Gate, optional
        What scales the channels of its input, if that is better done to the weight.
    steps : list of EpilogueStep
        The steps behind it.
    between : list of relax.Var
        The variables of the steps.
    entering : relax.Expr, optional
        The image as (N, C, H, W), if only this convolution reads its permuted form.
    leaving : relax.Var, optional
        The result permuted to (N, C, H, W), if nothing else reads the result.
    """

    var: relax.Var
    data: relax.Expr
    geometry: ConvGeometry
    weight: np.ndarray | None
    gather: ir.Call | None = None
    averages: bool = False
    gate: Gate | None = None
    steps: list[EpilogueStep] = field(default_factory=list)
    between: list[relax.Var] = field(default_factory=list)
    entering: relax.Expr | None = None
    leaving: relax.Var | None = None

    @property
    def source(self) -> relax.Expr:
        """What it reads, before the channels are put in another order."""
        return self.data if self.gather is None else self.gather.args[0]

    def constants(self) -> LayerConstants:
        """What its kernel is built from."""
        return LayerConstants(self.weight, tuple(self.steps), None if self.gather is None else order_of(self.gather, axis=3))

    def workload(self) -> ConvWorkload:
        """What it computes."""
        batch, height, width, channels = (int(d) for d in self.data.ty.shape)
        pools = self.weight is None and not self.averages
        return ConvWorkload(self.geometry, (height, width), channels, batch, self.gather is not None, pools, self.averages)


def find_runs(main: relax.Function) -> list[list[ConvolutionMember]]:
    """Find runs of convolutions, and of poolings behind them, in which each is the only reader of the one before.

    A convolution that has no such neighbour is a run by itself.
    """
    uses, bindings = count_uses(main), [b for block in main.body.blocks for b in block.bindings if isinstance(b, relax.VarBinding)]
    swishes = find_hard_swishes(bindings, uses)
    runs: list[list[ConvolutionMember]] = []
    entering: dict[relax.Var, relax.Expr] = {}  # images as (N, C, H, W), by the variables of their permuted forms
    gathers: dict[relax.Var, ir.Call] = {}
    gates: dict[relax.Var, Gate] = {}  # by the variables of the products
    open_runs: dict[relax.Var, list[ConvolutionMember]] = {}  # by the variable that a run's next convolution or step has to read
    for binding in bindings:
        value = binding.value
        if not isinstance(value, ir.Call) or not isinstance(value.op, ir.Op):
            continue
        source = value.args[0] if value.args else None
        swish = swishes.get(source) if isinstance(source, relax.Var) else None
        run = open_runs.pop(source, None) if isinstance(source, relax.Var) and (swish is not None or uses[source] == 1) else None
        gather = gathers.get(source) if uses[source] == 1 else None
        plain: tuple[ConvGeometry, np.ndarray | None] | None
        plain = plain_convolution(value) or (_max_pool(value) if run is not None and gather is None else None)
        if plain is not None:
            if run is None:
                run = []
                runs.append(run)
            geometry, weight = plain
            run.append(ConvolutionMember(binding.var, source, geometry, weight, gather))
            if uses[source] == 1 and gate_pays(gates.get(source), run[-1]):
                run[-1].gate = gates[source]
            if uses[source] == uses[run[-1].source] == 1:
                run[-1].entering = entering.get(run[-1].source)
        elif run is not None and gather is None and is_average(value):
            geometry = ConvGeometry(run[-1].geometry.filters, run[-1].workload().output, groups=run[-1].geometry.filters)
            run.append(ConvolutionMember(binding.var, source, geometry, None, averages=True))
            continue
        elif swish is not None:
            if run is not None and gather is None and fits_behind(run[-1].steps, HARD_SWISH):
                run[-1].steps.append(EpilogueStep(HARD_SWISH))
                run[-1].between.extend([*swish.inner, swish.result])
                open_runs[swish.result] = run
            continue
        elif order_of(value, axis=3) is not None:
            gathers[binding.var] = value
            if run is None or gather is not None:
                continue
        elif run is not None and gather is None and (step := step_of(value, run[-1].geometry.filters)) is not None \
                and fits_behind(run[-1].steps, step.name):
            run[-1].steps.append(step)
            run[-1].between.append(binding.var)
        elif (product := _gate(value)) is not None:
            gates[binding.var] = product
            continue
        else:
            axes = _permuted(value)
            if axes == TO_CHANNELS_LAST:
                entering[binding.var] = source
            elif run is not None and gather is None and axes == FROM_CHANNELS_LAST:
                run[-1].leaving = binding.var
            continue
        open_runs[binding.var] = run
    return runs


def fits_behind(steps: Sequence[EpilogueStep], name: str) -> bool:
    """Whether a step can stand behind others in one expression: what reads its value twice has no exponential computed twice."""
    return name not in READ_TWICE or not any(step.name in DEAR for step in steps)


def gate_pays(gate: Gate | None, member: ConvolutionMember) -> bool:
    """Whether to scale the weight of a convolution instead of its input, where that is less: conv(x * s, w) = conv(x, w * s)."""
    if gate is None or member.weight is None or member.geometry.groups > 1:
        return False
    _, height, width, channels = (int(d) for d in member.data.ty.shape)
    return WEIGHT_COST * member.weight.size <= height * width * channels


def _gate(call: ir.Call) -> Gate | None:
    """A product of a channels-last float32 image and one number that was computed for each channel; None for every other call."""
    if call.op.name != "relax.multiply" or str(call.ty.dtype) != "float32" or len(call.ty.shape) != 4:
        return None
    shape = [int(d) for d in call.ty.shape]
    for image, numbers in (call.args, reversed(call.args)):
        shapes = [[int(d) for d in arg.ty.shape] for arg in (image, numbers)]
        if shapes == [shape, [1, 1, 1, shape[3]]] and shape[0] == 1 and isinstance(image, relax.Var) and isinstance(numbers, relax.Var):
            return Gate(image, numbers)
    return None


def _max_pool(call: ir.Call) -> tuple[ConvGeometry, None] | None:
    """The geometry of a channels-last float32 max-pooling whose windows begin on the image; None for every other call."""
    if call.op.name != "relax.nn.max_pool2d" or call.attrs.layout != "NHWC" or str(call.ty.dtype) != "float32":
        return None
    _, height, width, channels = (int(size) for size in call.args[0].ty.shape)
    attrs = call.attrs
    geometry = ConvGeometry(channels, pair(attrs.pool_size), pair(attrs.strides), sides(attrs.padding), pair(attrs.dilation), channels)
    _, *output, _ = (int(size) for size in call.ty.shape)
    return (geometry, None) if geometry.output(height, width) == tuple(output) else None  # `ceil_mode` makes more of them


def is_average(call: ir.Call) -> bool:
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


def step_of(call: ir.Call, channels: int) -> EpilogueStep | None:
    """An element-wise call as a step, its operand an array of one value per channel; None for every other call."""
    name = call.op.name
    if not is_step(name) or str(call.ty.dtype) != "float32":
        return None
    if name == "relax.clip":
        return EpilogueStep(name, tuple(bound(arg) for arg in call.args[1:]))
    if not has_operand(name):
        return EpilogueStep(name)
    operand = call.args[1]
    if not isinstance(operand, ir.Constant):
        return None
    values = operand.value.numpy()
    if values.size == 1:
        values = np.full(channels, values.reshape(()), "float32")
    elif values.shape[-1] != channels or values.size != channels:
        return None
    return EpilogueStep(name, (values.reshape(channels),))
