"""Values that are read more than once: as many exponentials as the network has, and the same numbers."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from normalisation_cases import Graph
from tenfold.passes.pipeline import build, lower
from tenfold.schedules.backend import backend_of
from tenfold.schedules.tir.analysis import transcendentals
from tenfold.schedules.tir.loop_nests import nests_of
from tvm import relax, tirx

SHAPE = [1, 8, 6, 10]


def mish(g, x):
    return g.op("Mul", x, g.op("Tanh", g.op("Softplus", x)))


def swish(g, x):
    return g.op("Mul", x, g.op("Sigmoid", x))


def residual(g, x):
    return g.op("Add", x, g.op("Tanh", x))


def cheap_residual(g, x):
    return g.op("Add", x, g.op("Mul", g.op("Relu", x), g.constant(0.1)))


STEPS = {mish: 3, swish: 1, residual: 1, cheap_residual: 0}  # calls of exp, log, tanh, sigmoid in each


def repeated(step, times, convolution):
    g = Graph()
    x = {
        "none": lambda: "x",
        "dense": lambda: g.op("Conv", "x", g.noise(16, 8, 3, 3), pads=[1] * 4),
        "depthwise": lambda: g.op("Conv", "x", g.noise(8, 1, 3, 3), pads=[1] * 4, group=8),
        "odd channels": lambda: g.op("Conv", "x", g.noise(5, 8, 1, 1), g.noise(5)),
        "one pixel": lambda: g.op("Conv", "x", g.noise(24, 8, 6, 10)),
        "channels last": lambda: g.op("Transpose", g.op("Conv", "x", g.noise(16, 8, 3, 3)), perm=[0, 2, 3, 1]),
        "normalisation": lambda: g.op("Softmax", "x", axis=1),
    }[convolution]()
    for _ in range(times):
        x = step(g, x)
    return g.network(SHAPE, x)


def functions(net, target, until="schedule"):
    return [f for _, f in lower(net.mod, backend_of(target), until=until).functions_items() if isinstance(f, tirx.PrimFunc)]


def calls(net, target):
    return sum(transcendentals(f.body) for f in functions(net, target))


PLACES = ["none", "dense", "depthwise", "odd channels", "one pixel", "channels last", "normalisation"]


@pytest.mark.quick(8)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("step", STEPS)
def test_calls_grow_linearly(step, place, target):
    before = calls(repeated(step, 0, place), target) if place != "none" else 0
    for times in (2, 9):
        assert calls(repeated(step, times, place), target) == before + times * STEPS[step]


@pytest.mark.parametrize("place", ["none", "dense"])
def test_code_grows_linearly(place, target):
    """Of residuals that are cheap enough to be copied, too."""
    sizes = [sum(len(f.script()) for f in functions(repeated(cheap_residual, times, place), target)) for times in (4, 8, 16)]
    assert sizes[2] - sizes[1] < 3 * (sizes[1] - sizes[0])


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_numbers_are_the_same(place, target):
    net = repeated(mish, 3, place)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype("float32")
    out = relax.VirtualMachine(build(net.mod, backend_of(target)), tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    (expected,) = net.reference({"x": x})
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)


def nests(times, target):
    """Loop nests of the kernel of a convolution with some activations behind it."""
    [func] = [f for f in functions(repeated(mish, times, "dense"), target) if "conv" in f.script()]
    return len(nests_of(func))


def test_a_kernel_takes_in_one_activation_but_not_nine(target):
    assert nests(1, target) == nests(0, target) < nests(9, target)
