"""Which layers are computed on bfloat16: those whose kernels the model of the machine says are faster than what float32 has for them.

float32 may have one kernel for several layers (a chain), and Winograd's algorithm for one. So the kernels into which a run of layers would
be cut are compared one by one with kernels of bfloat16 for their layers.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

import numpy as np
from tvm import ir, relax

from ...schedules.backend import Backend, Kernel, Run, RunPart
from ...schedules.shapes import ConvWorkload, DenseWorkload
from ..convolution_runs import ConvolutionMember, find_runs
from ..legalize import dense_weight, dense_workload

LEAST_GAIN = 0.97  # of the time in float32: what gains less stays as exact as it is


@dataclass(frozen=True)
class HalfLayer:
    """A layer to compute on bfloat16.

    Attributes
    ----------
    data : relax.Var
        What it reads.
    weight : ndarray
        OIHW, or OI.
    workload : ConvWorkload or DenseWorkload
    """

    data: relax.Var
    weight: np.ndarray
    workload: ConvWorkload | DenseWorkload

    def kernel(self, backend: Backend) -> Kernel:
        """Return its kernel."""
        workload = self.workload
        found = backend.half_convolution(workload) if isinstance(workload, ConvWorkload) else backend.half_dense(workload)
        assert found is not None
        return found


def half_layers(main: relax.Function, backend: Backend) -> dict[relax.Var, HalfLayer]:
    """Find the layers, by the variables of their results.

    Parameters
    ----------
    main : relax.Function
        Channels-last.
    backend : Backend
        Its choices note nothing.
    """
    asked = type(backend)(backend.target)
    found: dict[relax.Var, HalfLayer] = {}
    for run in find_runs(main):
        workloads = [member.workload() for member in run]
        begin = 0
        for part in _parts(asked, run, workloads):
            end = begin + part.count
            if _pays(asked, part, workloads[begin:end]) and all(isinstance(m.data, relax.Var) and m.gather is None for m in run[begin:end]):
                found.update({m.var: HalfLayer(m.data, m.weight, workload) for m, workload in zip(run[begin:end], workloads[begin:end],
                                                                                                 strict=True) if m.weight is not None})
            begin = end
    for binding in (binding for block in main.body.blocks for binding in block.bindings):
        call = binding.value
        if isinstance(call, ir.Call) and isinstance(call.op, ir.Op) and (layer := _dense(asked, call)) is not None:
            found[binding.var] = layer
    return found


def _parts(backend: Backend, run: Sequence[ConvolutionMember], workloads: Sequence[ConvWorkload]) -> list[RunPart]:
    """The kernels that float32 has for a run."""
    whole: Run | None = backend.run(workloads, run[0].entering is not None, run[-1].leaving is not None)
    return [RunPart(1) for _ in run] if whole is None else whole.parts(whole.space().chosen)


def _pays(backend: Backend, part: RunPart, workloads: Sequence[ConvWorkload]) -> bool:
    """Whether kernels of bfloat16 are faster than one of float32 for some layers, of which one at least multiplies pairs."""
    layers = [each for each in workloads if not (each.pools or each.averages)]
    if not layers or all(layer.depthwise for layer in layers) and len(layers) > 1 or any(_one_pixel(layer) for layer in layers):
        return False
    halves = [backend.half_convolution(layer) for layer in layers]
    if None in halves:
        return False
    ours = sum(kernel.terms().get("ms", inf) for kernel in halves if kernel is not None)
    ours += sum(_pooling_ms(each, backend) for each in workloads if each.pools or each.averages)
    kernel = part.kernel or backend.convolution(workloads[0])
    theirs = inf if kernel is None else kernel.terms().get("ms", inf)
    return ours < LEAST_GAIN * theirs


def _one_pixel(layer: ConvWorkload) -> bool:
    """Whether it is a matrix times a vector, which the reading of weights bounds."""
    return layer.batch * prod(layer.output) == 1


def _pooling_ms(layer: ConvWorkload, backend: Backend) -> float:
    """What a pooling takes that is a kernel of its own: its image goes through L2."""
    cpu, image = backend.target.model, 4 * layer.batch * layer.channels * prod(layer.size)
    cycles = cpu.launch_cycles + image / cpu.l2_round_trip_bytes_per_cycle / backend.target.cores
    return cycles / cpu.clock_ghz / 1e6


def _dense(backend: Backend, call: ir.Call) -> HalfLayer | None:
    """A fully connected layer of several rows."""
    weight = dense_weight(call)
    if weight is None or not isinstance(call.args[0], relax.Var):
        return None
    workload = dense_workload(call, weight)
    half, wide = backend.half_dense(workload), backend.dense(workload)
    if workload.rows == 1 or half is None or wide is None or half.terms()["ms"] > LEAST_GAIN * wide.terms().get("ms", inf):
        return None
    return HalfLayer(call.args[0], weight, workload)
