"""The tasks of a network: what can be tuned by itself, as a backend cuts its runs into kernels, and how often each occurs."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import inf

import tvm
from tvm import ir, relax

from ..schedules.backend import JOINS, Backend, EpilogueStep, Run, kernels_of
from ..schedules.operators import is_step
from ..schedules.shapes import ConvWorkload
from ..schedules.space import Point
from ..schedules.task import RESIDUAL, Task, TaskLayer
from .convolution_runs import ConvolutionMember, find_runs
from .epilogues import bound
from .fuse_dense import DenseMember, find_dense_runs, kernel_of
from .legalize import dense_weight, dense_workload, transposed_convolution
from .pipeline import lower
from .use_counts import count_uses

Readers = dict[relax.Var, relax.VarBinding]
# Estimate of one kernel over that of two: up to it the model may be wrong, and a tuner tries both.
NEAR = 1.35


def find_tasks(mod: tvm.IRModule, backend: Backend) -> Counter[Task]:
    """Find the tasks of a network.

    Parameters
    ----------
    mod : tvm.IRModule
        An imported network.
    backend : Backend
        Its choices say how runs are cut, and how the kernels of what is cut so can be built.

    Returns
    -------
    Counter of Task
        How often each occurs. Layers that have no kernel of the backend's are left out; so are poolings that stand alone. Two kernels that
        one could replace at nearly the same time by the model are one task.
    """
    main = lower(mod, backend, until="composites")["main"]
    readers = _only_readers(main)
    found: Counter[Task] = Counter()
    chained: set[relax.Var] = set()
    for members in find_dense_runs(main):
        layers = tuple(TaskLayer(member.workload, tuple(map(_name, member.steps))) for member in members)
        if kernel_of(members, backend) is not None:
            chained.update(member.var for member in members)
            found[Task(_with_rest(layers, _end(members[-1]), readers))] += 1
    for run in find_runs(main):
        if run[0].var not in chained:
            found.update(_tasks_of_run(run, backend, readers))
    for binding in _calls(main):
        layer = _single(binding.value, backend) if binding.var not in chained else None
        if layer is not None:
            found[Task(_with_rest((layer,), binding.var, readers))] += 1
    return found


def _tasks_of_run(run: list[ConvolutionMember], backend: Backend, readers: Readers) -> Iterator[Task]:
    workloads = [member.workload() for member in run]
    source_nchw, result_nchw = run[0].entering is not None, run[-1].leaving is not None
    whole = backend.run(workloads, source_nchw, result_nchw)
    cut = {} if whole is None else backend.choices.cut(whole)
    for begin, end in [(i, i + 1) for i in range(len(run))] if whole is None else _parts(whole, cut, workloads):
        if workloads[begin].pools or workloads[begin].averages:
            continue
        if end - begin == 1 and backend.convolution(workloads[begin]) is None:
            continue
        layers = tuple(TaskLayer(workloads[i], tuple(map(_name, run[i].steps))) for i in range(begin, end))
        leaves = result_nchw and end == len(run)
        kinds = tuple(str(cut[f"layer{i}"]) for i in range(begin, end)) if cut else ()
        yield Task(layers if leaves else _with_rest(layers, _end(run[end - 1]), readers), source_nchw and begin == 0, leaves, kinds)


def _parts(run: Run, cut: Point, workloads: list[ConvWorkload]) -> list[tuple[int, int]]:
    """The kernels of a cut; of two neighbours that one kernel could nearly replace both together, the nearest first, each kernel once."""
    kernels = kernels_of(cut)
    ratios = {number: _ratio_of_one(run, cut, (first[0], second[1])) for number, (first, second) in enumerate(pairwise(kernels))
              if not (workloads[first[0]].pools or workloads[first[0]].averages)}
    joined: set[int] = set()
    for number in sorted(ratios, key=lambda number: ratios[number]):
        if ratios[number] <= NEAR and not joined & {number - 1, number, number + 1}:
            joined.add(number)
    return [(begin, kernels[i + 1][1] if i in joined else end) for i, (begin, end) in enumerate(kernels) if i - 1 not in joined]


def _ratio_of_one(run: Run, cut: Point, layers: tuple[int, int]) -> float:
    """The estimate of one kernel for some layers over that of the kernels of a cut; infinite where it can't be, or has no estimate."""
    part = run.between(*layers)
    space, names = part.space(), [f"layer{i}" for i in range(layers[1] - layers[0])]
    own = {name: cut[f"layer{layers[0] + i}"] for i, name in enumerate(names)}
    own_ms = part.terms_at(own).get("ms") if own in space else None
    whole = [{**dict.fromkeys(names, JOINS), names[0]: kind} for kind in space.alternatives[0].values[names[0]]]
    estimates = [ms for point in whole if point in space and (ms := part.terms_at(point).get("ms"))]
    return min(estimates, default=inf) / own_ms if own_ms else inf


def _single(call: ir.Call, backend: Backend) -> TaskLayer | None:
    """A fully connected layer, or a transposed convolution, with a kernel of its own."""
    weight = dense_weight(call)
    if weight is not None:
        layer = dense_workload(call, weight)
        return None if backend.dense(layer) is None else TaskLayer(layer)
    plain = transposed_convolution(call) if call.op.name == "relax.nn.conv2d_transpose" else None
    if plain is None:
        return None
    batch, height, width, channels = (int(size) for size in call.args[0].ty.shape)
    workload = ConvWorkload(plain[0], (height, width), channels, batch)
    return None if backend.convolution(workload) is None else TaskLayer(workload)


def _with_rest(layers: tuple[TaskLayer, ...], end: relax.Var, readers: Readers) -> tuple[TaskLayer, ...]:
    """Layers with the steps behind the last one that are left in the graph, and will be fused with its kernel."""
    *before, last = layers
    steps = list(last.steps)
    while (reader := readers.get(end)) is not None:
        step = _step(reader.value, end, RESIDUAL not in steps)
        if step is None:
            break
        steps.append(step)
        end = reader.var
    return (*before, TaskLayer(last.workload, tuple(steps)))


def _step(call: ir.Call, value: relax.Var, may_add: bool) -> str | None:
    """What a reader of a layer's result is to the layer: a step; the addition of a tensor of the same shape; None for all else."""
    name = call.op.name
    if not is_step(name) or str(call.ty.dtype) != "float32":
        return None
    others = [arg for arg in call.args if not (isinstance(arg, relax.Var) and arg.same_as(value))]
    if name == "relax.add" and len(others) == 1 and isinstance(others[0], relax.Var):
        return RESIDUAL if may_add and list(others[0].ty.shape) == list(value.ty.shape) else None
    if name == "relax.clip":
        return " ".join([name, *(f"{bound(arg):g}" for arg in call.args[1:])])
    return name if all(isinstance(arg, ir.Constant) for arg in others) else None


def _name(step: EpilogueStep) -> str:
    if step.name == "relax.clip":
        return " ".join([step.name, *(f"{value:g}" for value in step.arguments)])
    return step.name


def _end(member: ConvolutionMember | DenseMember) -> relax.Var:
    return member.between[-1] if member.between else member.var


def _only_readers(main: relax.Function) -> Readers:
    """By variables that are read once, the call that reads each."""
    uses, found = count_uses(main), {}
    for binding in _calls(main):
        for arg in binding.value.args:
            if isinstance(arg, relax.Var) and uses[arg] == 1:
                found[arg] = binding
    return found


def _calls(main: relax.Function) -> Iterator[relax.VarBinding]:
    for block in main.body.blocks:
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding) and isinstance(binding.value, ir.Call) and isinstance(binding.value.op, ir.Op):
                yield binding
