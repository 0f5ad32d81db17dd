"""Permutes: the same numbers, by shuffles where a tile is whole."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_checks import AVX512, HOST, fused, kernels, scheduled
from tenfold.schedules.tir.bound_loops import BoundLoops, lower_blocks
from tenfold.schedules.tir.transpose_tiles import SIZES, TRANSPOSE, TransposeTiles, transposition
from tvm import relax, tirx

SIDE = st.integers(16, 70)


@pytest.mark.parametrize("size", SIZES)
def test_the_shuffles_transpose(size):
    matrix = np.arange(size * size).reshape(size, size)
    vectors = matrix
    for stage in transposition(size):
        vectors = np.array([np.concatenate([vectors[a], vectors[b]])[order] for a, b, order in stage])
    np.testing.assert_array_equal(vectors, matrix.T)


def permuted(shape, axes, target):
    mod = scheduled(fused(lambda x: relax.op.permute_dims(x, axes), [shape]), target)
    [func] = kernels(mod)
    return transposed(func)


def transposed(func):
    loops = BoundLoops()(lower_blocks(tvm.IRModule({"main": func.with_attr("global_symbol", "main")})))
    return TransposeTiles()(loops)["main"]


def all_of(kind, func):
    found = []
    tvm_ffi.structural_walk(func.body, (kind, found.append))
    return found


def run(func, x, shape):
    library = tvm.tirx.build(tvm.IRModule({"main": func}), target=HOST.tvm_target())
    out = tvm.runtime.tensor(np.full(shape, np.nan, "float32"))
    library["main"](tvm.runtime.tensor(x), out)
    return out.numpy()


@pytest.mark.slow
@given(batch=st.integers(1, 2), channels=SIDE, height=st.integers(1, 9), width=st.integers(16, 40), back=st.booleans())
@settings(deadline=None, max_examples=20, derandomize=True)
def test_images_change_their_layout(batch, channels, height, width, back):
    shape, axes = ((batch, height, width, channels), (0, 3, 1, 2)) if back else ((batch, channels, height, width), (0, 2, 3, 1))
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    func = permuted(shape, axes, HOST)
    assert not any(TRANSPOSE in loop.annotations for loop in all_of(tirx.For, func))
    np.testing.assert_array_equal(run(func, x, x.transpose(axes).shape), x.transpose(axes))


def test_whole_tiles_have_neither_conditions_nor_single_numbers():
    func = permuted((1, 64, 8, 8), (0, 2, 3, 1), AVX512)
    assert not all_of(tirx.IfThenElse, func)
    stores = all_of(tirx.BufferStore, func)
    assert len(stores) == 16 and all(isinstance(store.indices[-1], tirx.Ramp) for store in stores)
    assert len(all_of(tirx.Shuffle, func)) == 16 * 4


def test_a_tile_that_is_cut_short_begins_earlier_along_the_axis_of_one_thread():
    func = permuted((1, 40, 5, 5), (0, 2, 3, 1), AVX512)
    assert not all_of(tirx.IfThenElse, func)
    assert all(isinstance(store.indices[-1], tirx.Ramp) for store in all_of(tirx.BufferStore, func))


def test_along_the_axis_that_threads_share_it_is_copied_number_by_number():
    """Both kinds of code are there: one of them for tiles that lie within that axis."""
    func = permuted((1, 40, 61, 67), (0, 2, 3, 1), AVX512)
    widths = {isinstance(store.indices[-1], tirx.Ramp) for store in all_of(tirx.BufferStore, func)}
    assert widths == {True, False} and all_of(tirx.IfThenElse, func)


def test_a_permute_within_other_work_stays_as_it_is():
    """y[r, l] = x[l, r] + x[r, l] is no tile of a permute: it is not rewritten, and computes the same."""
    x = np.random.default_rng(0).standard_normal((32, 32)).astype("float32")
    mod = scheduled(fused(lambda v: relax.op.add(relax.op.permute_dims(v, (1, 0)), v), [x.shape]), HOST)
    [func] = kernels(mod)
    func = transposed(func)
    assert not all_of(tirx.Shuffle, func)
    np.testing.assert_array_equal(run(func, x, x.shape), x.T + x)
