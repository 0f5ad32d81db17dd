"""Fully connected layers of one image, against NumPy, over random sizes and groupings."""
from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import tvm
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.cpu.dense.matvec import STREAM_COST, Streams, choose_streams, matvec, pack_matrix, schedule_matvec
from tenfold.targets import resolve
from tvm import te, tirx

HOST, AVX2, AVX512 = resolve("host"), named("zen3"), named("zen4")


def function(shape, filters, streams, lanes, epilogue=True):
    """The product, bias and ReLU as a function, and the shapes of its arguments."""
    packed = pack_matrix(np.zeros((filters, int(np.prod(shape))), "float32"), streams, lanes).shape
    data, weights, bias = (te.placeholder(s, name=n) for s, n in ((shape, "x"), (packed, "w"), ((filters,), "b")))
    out = matvec(data, weights, filters, streams)
    if epilogue:
        added = te.compute(out.shape, lambda *i: out(*i) + bias[i[-1]], name="add")
        out = te.compute(out.shape, lambda *i: tirx.max(added(*i), tirx.const(0, "float32")), name="relu")
    return te.create_prim_func([data, weights, bias, out])


def check(shape, filters, streams):
    rng = np.random.default_rng(0)
    x, bias = rng.standard_normal(shape, "float32"), rng.standard_normal(filters, "float32")
    weight = rng.standard_normal((filters, x.size), "float32")
    kernel = tvm.compile(schedule_matvec(function(shape, filters, streams, HOST.lanes), HOST).mod, target=HOST.tvm_target())["main"]
    out = tvm.runtime.tensor(np.full((1,) * (x.ndim - 1) + (filters,), np.nan, "float32"))
    kernel(*[tvm.runtime.tensor(a) for a in (x, pack_matrix(weight, streams, HOST.lanes), bias)], out)
    np.testing.assert_allclose(out.numpy().ravel(), np.maximum(weight @ x.ravel() + bias, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@given(shape=st.one_of(st.tuples(st.just(1), st.integers(1, 400)), st.tuples(st.just(1), st.just(1), st.integers(1, 99)),
                       st.tuples(st.just(1), st.integers(1, 7), st.integers(1, 7), st.integers(1, 40))), filters=st.integers(1, 300))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_any_size(shape, filters):
    """Vectors, and images that are read as vectors."""
    check(shape, filters, choose_streams(int(np.prod(shape)), filters, HOST))


@pytest.mark.quick(6)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_grouping_is_right(count, vectors, parallel):
    """What the model chooses is a matter of speed alone; 240 outputs fill some groups and leave others part empty."""
    check((1, 33), 240, Streams(count, vectors, parallel))


@given(channels=st.integers(1, 30000), filters=st.integers(1, 5000), target=st.sampled_from([AVX2, AVX512]))
@settings(deadline=None, max_examples=200)
def test_no_core_waits_for_a_coarse_grouping(channels, filters, target):
    """The busiest core does not do more than the most even sharing of blocks and the gain of more streams allow."""
    streams = choose_streams(channels, filters, target)
    blocks = ceil(filters / (streams.vectors * target.lanes))
    cores = target.cores if streams.parallel else 1
    assert 1 <= streams.count <= blocks
    assert ceil(ceil(blocks / streams.count) / cores) * streams.count * STREAM_COST[streams.count] <= ceil(blocks / cores) * STREAM_COST[1]


def test_small_layers_stay_on_one_thread():
    assert not choose_streams(256, 10, AVX2).parallel
    assert choose_streams(4096, 1000, AVX2).parallel


@pytest.mark.parametrize("target", [AVX2, AVX512], ids=["avx2", "avx512"])
@pytest.mark.parametrize("shape", [(1, 4096), (1, 6, 6, 256)])
def test_inner_loop_keeps_its_sums_in_registers(shape, target):
    """One multiply-add for each vector of weights, straight from memory, and no store: also where an image is read as a vector."""
    streams = choose_streams(int(np.prod(shape)), 4096, target)
    schedule = schedule_matvec(function(shape, 4096, streams, target.lanes), target)
    assembly = tvm.compile(schedule.mod, target=target.tvm_target()).mod.inspect_source("asm")
    body, _, _ = assembly.partition("vmaxps")
    adds = [line for line in body.splitlines() if "vfmadd" in line]
    assert adds and len(adds) % (streams.count * streams.vectors) == 0
    assert all("(" in line for line in adds)
