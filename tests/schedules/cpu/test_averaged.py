"""The average of a map and layers behind it in one kernel, against NumPy; how rows are shared among threads."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import EpilogueStep, LayerConstants
from tenfold.schedules.cpu.dense.averaged import NAMES
from tenfold.schedules.cpu.dense.matvec_chain import schedule_matvec_chain
from tenfold.schedules.cpu.fully_connected import choose_dense_run
from tenfold.schedules.shapes import DenseWorkload
from tenfold.targets import resolve
from tvm import te

HOST, AVX2, AVX512 = resolve("host"), named("zen3"), named("zen4")


def kernel(size, channels, layers, target, rng):
    """The function, the constants that it takes, and what computes the same in float64."""
    widths = [channels, *layers]
    weights = [rng.standard_normal((f, c), "float32") / np.float32(np.sqrt(c)) for c, f in zip(widths, widths[1:], strict=False)]
    chosen = choose_dense_run([DenseWorkload(1, c, f) for c, f in zip(widths, widths[1:], strict=False)], target, size)
    bound = chosen.bind(*(LayerConstants(weight, (EpilogueStep("relax.nn.relu"),)) for weight in weights))
    data = te.placeholder((1, *size, channels), name="x")
    constants = [te.placeholder(array.shape, name=f"w{i}") for i, array in enumerate(bound.constants)]
    func = te.create_prim_func([data, *constants, bound.compute(data, *constants)])

    def expected(x):
        value = x.astype(float).mean((0, 1, 2))
        for weight in weights[:-1]:
            value = np.maximum(weight @ value, 0)
        return weights[-1] @ value

    return func, bound.constants, expected


def check(size, channels, layers, target=HOST):
    rng = np.random.default_rng(0)
    func, constants, expected = kernel(size, channels, layers, target, rng)
    compiled = tvm.compile(schedule_matvec_chain(func, target).mod, target=target.tvm_target())["main"]
    x = rng.standard_normal((1, *size, channels), "float32") + np.float32(1)
    out = tvm.runtime.tensor(np.full((1, 1, 1, layers[-1]), np.nan, "float32"))
    for _ in range(3):  # the threads meet again in every run
        compiled(*map(tvm.runtime.tensor, (x, *constants)), out)
        np.testing.assert_allclose(out.numpy().ravel(), expected(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@given(size=st.tuples(st.integers(1, 30), st.integers(1, 30)), channels=st.integers(1, 200),
       layers=st.lists(st.integers(1, 100), min_size=2, max_size=3))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_small_maps(size, channels, layers):
    check(size, channels, layers)


@pytest.mark.parametrize("size, channels, layers", [((112, 112), 32, (8, 32)), ((56, 57), 144, (6, 144)), ((7, 7), 1152, (480, 1152)),
                                                    ((1, 5), 2000, (900, 30))])
def test_maps_that_all_threads_share(size, channels, layers):
    check(size, channels, layers)


def nests(target, size, channels, layers):
    """The sizes of the parallel loops, and the barriers."""
    func, *_ = kernel(size, channels, layers, target, np.random.default_rng(0))
    text = schedule_matvec_chain(func, target).mod.script()
    return [line.split("(")[-1].rstrip("):") for line in text.splitlines() if "T.parallel(" in line], text.count("barrier_when_finish")


@pytest.mark.parametrize("target", [AVX2, AVX512])
def test_large_layers_have_launches_of_their_own(target):
    loops, barriers = nests(target, (7, 7), 960, (240, 960))
    assert len(loops) == 3 and barriers == 0  # sums, layer, layer


@pytest.mark.parametrize("target", [AVX2, AVX512])
def test_small_layers_behind_a_large_map_run_on_one_thread(target):
    loops, barriers = nests(target, (112, 112), 32, (8, 32))
    assert len(loops) == 1 and barriers == 0


@pytest.mark.parametrize("target", [AVX2, AVX512])
def test_what_is_small_wakes_no_thread(target):
    assert nests(target, (7, 7), 32, (8, 32)) == ([], 0)
    assert NAMES[0] in kernel((7, 7), 32, (8, 32), target, np.random.default_rng(0))[0].script()
