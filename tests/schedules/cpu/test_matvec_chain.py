"""Fully connected layers of one image in one kernel, against NumPy, over random sizes; how they are shared among threads."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.cpu.dense.matvec import pack_matrix, schedule_matvec
from tenfold.schedules.cpu.dense.matvec_chain import DenseStage, choose_chain, matvec_chain, schedule_matvec_chain, stored_outputs
from tenfold.targets import resolve
from tvm import te, tirx

HOST, AVX2, AVX512 = resolve("host"), named("zen3"), named("zen4")
RELU = ("relax.nn.relu",)


def arguments(sizes, grouped, lanes, rng):
    """Input, packed weights, filled up biases, and the result in float64."""
    x = rng.standard_normal((1, sizes[0]), "float32")
    weights, biases, packed, value = [], [], [], x[0].astype(float)
    for c, f, streams in zip(sizes, sizes[1:], grouped, strict=False):
        weights.append(rng.standard_normal((f, c), "float32") / np.float32(np.sqrt(c)))
        biases.append(rng.standard_normal(f, "float32"))
        packed.append(pack_matrix(weights[-1], streams, lanes))
        value = np.maximum(weights[-1] @ value + biases[-1], 0)
    padded = [np.pad(b, (0, stored_outputs(p.shape) - len(b))) for b, p in zip(biases[:-1], packed, strict=False)]
    return x, packed, [*padded, biases[-1]], value


def function(sizes, grouped, packed, biases):
    """The chain, every layer with bias and ReLU."""
    stages = [DenseStage(f, streams, (("relax.add", i), RELU)) for i, (f, streams) in enumerate(zip(sizes[1:], grouped, strict=True))]
    data = te.placeholder((1, sizes[0]), name="x")
    weights = [te.placeholder(p.shape, name=f"w{i}") for i, p in enumerate(packed)]
    operands = [te.placeholder(b.shape, name=f"b{i}") for i, b in enumerate(biases)]
    out = matvec_chain(data, weights, operands[:-1], stages)
    added = te.compute(out.shape, lambda *i: out(*i) + operands[-1][i[-1]], name="add")
    relu = te.compute(out.shape, lambda *i: tirx.max(added(*i), tirx.const(0, "float32")), name="relu")
    return te.create_prim_func([data, *weights, *operands, relu])


def check(sizes, target=HOST):
    grouped = choose_chain(sizes[0], sizes[1:], target)
    x, packed, biases, expected = arguments(sizes, grouped, target.lanes, np.random.default_rng(0))
    kernel = tvm.compile(schedule_matvec_chain(function(sizes, grouped, packed, biases), target).mod, target=target.tvm_target())["main"]
    out = tvm.runtime.tensor(np.full((1, sizes[-1]), np.nan, "float32"))
    tensors = [tvm.runtime.tensor(a) for a in (x, *packed, *biases)]
    for _ in range(3):  # the threads meet again in every run
        kernel(*tensors, out)
        np.testing.assert_allclose(out.numpy()[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@given(sizes=st.lists(st.integers(1, 300), min_size=3, max_size=6))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_small_layers(sizes):
    check(sizes)


@pytest.mark.parametrize("sizes", [(2304, 144, 256, 256, 10), (4096, 512, 1000), (30000, 17, 900), (2000, 200, 7), (999, 333, 111, 1001)])
def test_layers_that_all_threads_share(sizes):
    grouped = choose_chain(sizes[0], sizes[1:], HOST)
    assert HOST.cores == 1 or all(streams.parallel for streams in grouped[:-1])
    check(sizes)


@given(channels=st.integers(1, 9000), filters=st.lists(st.integers(1, 5000), min_size=2, max_size=5),
       target=st.sampled_from([AVX2, AVX512]))
@settings(deadline=None, max_examples=200)
def test_no_thread_repeats_what_another_does(channels, filters, target):
    """In one launch every layer but the last has groups for two threads: one group alone would be computed by all."""
    grouped = choose_chain(channels, filters, target)
    shared = [streams.parallel for streams in grouped]
    assert all(shared[:-1]) or not any(shared)
    for f, streams in zip(filters, grouped, strict=True):
        assert not streams.parallel or f > streams.count * streams.vectors * target.lanes


def test_one_launch_with_barriers():
    sizes = (4096, 256, 512, 1000)
    grouped = choose_chain(sizes[0], sizes[1:], AVX2)
    _, packed, biases, _ = arguments(sizes, grouped, AVX2.lanes, np.random.default_rng(0))
    text = schedule_matvec_chain(function(sizes, grouped, packed, biases), AVX2).mod.script()
    assert text.count("pragma_parallel_launch_point") == 1
    assert text.count("pragma_parallel_barrier_when_finish") == 2


def test_one_product_is_no_chain():
    data, weight = te.placeholder((1, 16), name="x"), te.placeholder((1, 1, 16, 16), name="w")
    grouped = choose_chain(16, [16, 16], AVX2)
    func = te.create_prim_func([data, weight, matvec_chain(data, [weight], [], [DenseStage(16, grouped[0])])])
    assert schedule_matvec_chain(func, AVX2) is None
    assert schedule_matvec(func, AVX2) is not None
