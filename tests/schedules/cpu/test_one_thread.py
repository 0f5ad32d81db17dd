"""No normalisation and no reduction is left unscheduled, or on one thread where there is work for more; and the numbers are right."""
from __future__ import annotations

from math import prod

import numpy as np
import pytest
import tvm
from host_model import model
from hypothesis import given, settings
from hypothesis import strategies as st
from normalisation_cases import OVER_AXES, REDUCTIONS, Graph, conv_behind, group, instance, layer, reduced
from tenfold.passes.pipeline import build, lower
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cpu.common import FEWEST_LAUNCHES
from tenfold.schedules.tir.analysis import blocks_of
from tvm import relax, tirx
from tvm.s_tir import Schedule

MODELS = [model("zen3", 4), model("zen4", 8), model("zen3", 2)]
# Of all that a kernel does on one thread: the estimate counts each block, whatever it shares with its neighbours.
MOST_LAUNCHES = 3 * FEWEST_LAUNCHES
shapes = st.tuples(st.sampled_from([1, 2]), st.sampled_from([3, 8, 24, 64]), st.sampled_from([1, 7, 24, 56]), st.sampled_from([5, 24, 49]))
axes = st.sampled_from([[-1], [1], [2], [1, 2], [2, 3], [1, 3], [1, 2, 3], [0, 2, 3], [0, 1, 2, 3]])
kinds = st.sampled_from([*OVER_AXES, *REDUCTIONS, "layer", "instance", "group"])
places = st.sampled_from(["alone", "behind a convolution", "behind a convolution, channels last", "behind a reshape"])


def network(kind, shape, place, over, keepdims, groups):
    g, x, lies = Graph(), "x", shape
    if place.startswith("behind a conv"):
        x, lies = conv_behind(g, x, shape, last=place.endswith("last"))
    elif place == "behind a reshape":
        lies = (shape[0], shape[2], shape[1], shape[3])
        x = g.op("Reshape", x, g.constant(np.array(lies)))
    if kind in OVER_AXES:
        y = OVER_AXES[kind](g, x, over)
        y = g.op("Add", g.op("Mul", y, g.noise(lies[-1])), g.noise(lies[-1])) if keepdims else y  # a scale and an offset, as it were
    elif kind == "group":
        y = group(g, x, lies, next(n for n in (groups, 3, 7, 1) if lies[1] % n == 0))
    elif kind == "layer":
        y = layer(g, x, lies)
    elif kind == "instance":
        y = instance(g, x, lies)
    else:
        y = reduced(g, x, kind, over, keepdims)
    return g.network(shape, y)


def on_one_thread(func, target) -> float:
    """Estimated time of what a scheduled function does outside of parallel loops, in cycles."""
    s = Schedule(func)
    serial = [b for b in blocks_of(s) if not any(s.get(l).kind == tirx.ForKind.PARALLEL for l in s.get_loops(b.rv))]
    return sum(b.work_cycles(target.model) for b in serial)


def check_kernels(net, target):
    """Lowering raises where no rule takes a function (TENFOLD_STRICT)."""
    for var, func in lower(net.mod, backend_of(target), until="schedule").functions_items():
        if isinstance(func, tirx.PrimFunc):
            assert on_one_thread(func, target) < MOST_LAUNCHES * target.model.launch_cycles, var.name_hint


def check_numbers(net, target):
    rng = np.random.default_rng(1)
    inputs = {spec.name: rng.standard_normal(spec.shape).astype("float32") for spec in net.inputs}
    machine = relax.VirtualMachine(build(net.mod, backend_of(target)), tvm.cpu())
    out = machine["main"](*[tvm.runtime.tensor(v) for v in inputs.values()]).numpy()
    (expected,) = net.reference(inputs)
    np.testing.assert_allclose(out, expected, rtol=2e-4, atol=2e-4 * max(1, abs(expected).max()))


@pytest.mark.slow
@settings(max_examples=80, deadline=None, derandomize=True)
@given(kinds, shapes, places, axes, st.booleans(), st.sampled_from([1, 4, 8]), st.sampled_from(MODELS))
def test_every_core_has_work(kind, shape, place, over, keepdims, groups, target):
    check_kernels(network(kind, shape, place, over, keepdims, groups), target)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(kinds, shapes.filter(lambda s: prod(s) < 40_000), places, axes, st.booleans(), st.sampled_from([1, 4, 8]), st.sampled_from(MODELS))
def test_numbers(kind, shape, place, over, keepdims, groups, target):
    check_numbers(network(kind, shape, place, over, keepdims, groups), target)


@pytest.mark.quick(1)
@pytest.mark.parametrize("channels, groups, size", [(64, 8, 24), (32, 4, 56)])
def test_group_normalisation(channels, groups, size, target):
    g = Graph()
    x, shape = conv_behind(g, "x", (1, channels, size, size), last=False)
    net = g.network(shape, group(g, x, shape, groups))
    check_kernels(net, target)
    check_numbers(net, target)
