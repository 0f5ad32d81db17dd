"""Sums, means, extrema over any axes, and matrix products without a constant, against NumPy."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
import tvm_ffi
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_checks import HOST, blocks, fused, kernel, kernels, noise, run, scheduled
from tenfold.schedules.cpu.reduction.columns import Tile, choose_tile
from tenfold.schedules.tir.analysis import blocks_of
from tenfold.schedules.tir.bound_loops import BoundLoops, lower_blocks
from tenfold.schedules.tir.split_reduction import can_split, split_into_lanes, split_into_tasks
from tvm import tirx
from tvm.relax import op
from tvm.s_tir import Schedule

AVX2 = named("zen3")
few = settings(max_examples=14, deadline=None, derandomize=True)
lengths = st.sampled_from([1, 2, 3, 7, 8, 16, 17, 40, 97])
REDUCTIONS = {"sum": (op.sum, np.sum), "mean": (op.mean, np.mean), "max": (op.max, np.max), "min": (op.min, np.min)}


@few
@given(st.tuples(lengths, lengths, lengths), st.sets(st.integers(0, 2), min_size=1), st.booleans(), st.sampled_from(sorted(REDUCTIONS)))
def test_any_axes(shape, axes, keepdims, name):
    ours, reference = REDUCTIONS[name]
    x = noise(*shape)
    result = run(lambda x: ours(x, sorted(axes), keepdims=keepdims), x)
    np.testing.assert_allclose(result, reference(x.astype("float64"), tuple(axes), keepdims=keepdims), rtol=1e-5, atol=1e-5)


@few
@given(st.tuples(lengths, lengths, lengths), st.integers(0, 2))
def test_positions_of_extrema(shape, axis):
    x = np.round(noise(*shape))  # with ties: the first wins
    np.testing.assert_array_equal(run(lambda x: op.argmax(x, axis), x), x.argmax(axis))
    np.testing.assert_array_equal(run(lambda x: op.argmin(x, axis), x), x.argmin(axis))


def test_integers():
    x = np.arange(-500, 470, dtype="int64").reshape(10, 97)
    np.testing.assert_array_equal(run(lambda x: op.sum(x, 1), x), x.sum(1))
    np.testing.assert_array_equal(run(lambda x: op.max(x, 0), x), x.max(0))


@pytest.mark.parametrize("shape, axes", [
    ((1, 7, 7, 512), [1, 2]),
    ((1, 112, 112, 8), [1, 2]),
    ((1, 64, 49, 49), [2, 3]),
    ((300_007,), [0]),
])
def test_global_pooling(shape, axes):
    x = noise(*shape)
    result = run(lambda x: op.nn.relu(op.mean(x, axes)), x)
    np.testing.assert_allclose(result, np.maximum(x.mean(tuple(axes), dtype="float64"), 0), rtol=1e-5, atol=1e-6)


def test_norm_of_rows():
    x = noise(30, 97)
    result = run(lambda x: op.divide(x, op.sqrt(op.sum(op.multiply(x, x), 1, keepdims=True))), x)
    np.testing.assert_allclose(result, x / np.linalg.norm(x.astype("float64"), axis=1, keepdims=True), rtol=1e-6)


@few
@given(st.integers(1, 3), lengths, lengths, lengths)
def test_matrix_products(batch, rows, inner, columns):
    x, y = noise(batch, rows, inner), noise(batch, inner, columns, seed=1)
    np.testing.assert_allclose(run(op.matmul, x, y), x.astype("float64") @ y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [17, 36, 60, 90])
def test_products_whose_columns_do_not_fill_vectors(columns):
    """As of attention with 36 channels a head."""
    x, y = noise(2, 3, 64, 50), noise(2, 3, 50, columns, seed=1)
    np.testing.assert_allclose(run(op.matmul, x, y), x.astype("float64") @ y, rtol=1e-4, atol=1e-5)


def test_rows_of_a_product_are_whole_vectors_and_the_columns_left():
    assert choose_tile(36, 256, 4096, 16, named("zen4")) == Tile(4, 3, 16)
    mod = scheduled(fused(op.matmul, [(4, 256, 256), (4, 256, 36)]), named("zen4"))
    loops = tirx.transform.VectorizeLoop()(BoundLoops()(lower_blocks(mod)))
    [func], lengths = kernels(loops), set()
    tvm_ffi.structural_walk(func.body, (tirx.BufferStore, lambda store: lengths.add(int(store.value.ty.dtype.lanes))))
    assert lengths == {16, 4}


def test_transposed_product():
    x, y = noise(30, 96), noise(64, 96, seed=1)
    np.testing.assert_allclose(run(lambda x, y: op.matmul(x, op.permute_dims(y)), x, y), x.astype("float64") @ y.T, rtol=1e-4, atol=1e-5)


def test_convolution_of_a_sequence():
    """Without a rule of its own: padded once, then like a matrix product."""
    x, weight = noise(1, 8, 24), noise(16, 8, 3, seed=1)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1)]).astype("float64")
    expected = sum(np.einsum("oi,nix->nox", weight[:, :, k], padded[:, :, k:k + 24]) for k in range(3))
    np.testing.assert_allclose(run(lambda x, w: op.nn.conv1d(x, w, padding=1), x, weight), expected, rtol=1e-4, atol=1e-5)


def test_rows_have_an_accumulator_for_each_lane():
    mod = scheduled(fused(lambda x: op.sum(x, 1), [(1024, 1000)]))
    assert any("_lanes" in name for name in blocks(mod))
    assert "T.parallel" in kernel(mod) and "T.vectorized" in kernel(mod)


@pytest.mark.parametrize("shape", [(1_000_000,), (112, 112, 16)])
def test_reductions_to_few_results_are_split_into_tasks(shape):
    mod = scheduled(fused(lambda x: op.sum(x, [0, 1][:len(shape)]), [shape]))
    assert any("_tasks" in name for name in blocks(mod))
    assert "T.parallel" in kernel(mod)


def sum_of_rows(rows: int, length: int):
    [func] = kernels(fused(lambda x: op.sum(x, 1), [(rows, length)]))
    return func


@few
@given(st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_split_reduction_sums_the_same(length, parts, into_lanes):
    x = np.round(100 * noise(3, length))  # whole numbers: any order of summation is exact
    split = split_into_lanes if into_lanes else split_into_tasks
    func = split(sum_of_rows(3, length), "x0_red", [1], min(parts, length)).with_attr("global_symbol", "main")
    result = tvm.runtime.tensor(np.empty(3, "float32"))
    tvm.compile(func, target=HOST.tvm_target())(tvm.runtime.tensor(x), result)
    np.testing.assert_array_equal(result.numpy(), x.sum(1))


def test_parts_have_to_divide_one_axis_of_several():
    [func] = kernels(fused(lambda x: op.sum(x, [0, 1]), [(6, 10)]))
    with pytest.raises(ValueError, match="4 parts do not divide 10"):
        split_into_lanes(func, "x0_red", [1], 4)


def test_only_sums_products_and_extrema_can_be_split():
    [block] = blocks_of(Schedule(sum_of_rows(3, 10)))
    assert can_split(block.stmt)
    [func] = kernels(fused(lambda x: op.argmax(x, 1), [(3, 10)]))
    assert not any(can_split(b.stmt) for b in blocks_of(Schedule(func)))


@pytest.mark.parametrize("columns, rows, tasks, expected", [
    (64, 1, 100, (1, 1, 64)),   # eight accumulators of eight lanes, half of AVX2's registers
    (40, 1, 100, (1, 5, 8)),
    (100, 1, 100, (1, 5, 4)),   # half vectors: accumulators of other lengths would live in memory
    (64, 196, 196, (4, 1, 16)),  # a matrix product: eight accumulators, each vector used four times
])
def test_tile_fits_registers(columns, rows, tasks, expected):
    assert choose_tile(columns, rows, tasks, 8, AVX2) == Tile(*expected)


def test_tile_leaves_work_for_every_core_but_not_less_than_a_cache_line():
    tile = choose_tile(1024, 1, 1, 8, AVX2)
    assert 1024 // (tile.vectors * tile.length) >= AVX2.cores
    assert choose_tile(32, 1, 1, 8, AVX2) == Tile(1, 1, 16)
