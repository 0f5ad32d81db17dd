"""Conditions as bounds of loops: the same sums, without branches."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.tir.bound_loops import ALIKE, EACH, SPLIT, BoundLoops, bound_loops
from tvm import s_tir, tirx
from tvm.script import tirx as T

ROWS, TAPS = 12, 4
LIMITS = st.integers(-8, 20)


def all_of(kind, func):
    found = []
    tvm_ffi.structural_walk(func.body, (kind, found.append))
    return found


def run(func, *shapes):
    """What a function writes to its last argument, which begins as zeros."""
    library = tvm.tirx.build(tvm.IRModule({"main": func}), target="llvm")
    arrays = [np.arange(1, 1 + np.prod(shape), dtype="float32").reshape(shape) for shape in shapes[:-1]]
    tensors = [tvm.runtime.tensor(array) for array in (*arrays, np.zeros(shapes[-1], "float32"))]
    library["main"](*tensors)
    return tensors[-1].numpy()


def rows(row, tap, low, high):
    """y[i] is the sum of x[k] where ``low <= row i + tap k < high``."""

    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((TAPS,), "float32"), y: T.Buffer((ROWS,), "float32")):
        for i in range(ROWS):
            for k in range(TAPS):
                for _c in range(2):
                    if low <= i * row + k * tap and i * row + k * tap < high:
                        y[i] = y[i] + x[k]

    return main


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(row=st.integers(-2, 3), tap=st.integers(-3, 3), low=LIMITS, high=LIMITS)
def test_rows_are_summed_as_before_without_a_branch(row, tap, low, high):
    before = rows(row, tap, low, high)
    after = bound_loops(before)
    i, k = np.arange(ROWS)[:, None], np.arange(TAPS)
    inside = (low <= row * i + tap * k) & (row * i + tap * k < high)
    np.testing.assert_array_equal(run(after, (TAPS,), (ROWS,)), 2 * (inside * (k + 1)).sum(axis=1))
    if tap:
        assert not all_of(tirx.IfThenElse, after)


def test_what_no_inner_loop_changes_goes_outside():
    """The condition on the row alone is tested once a row, that on both bounds the loop over taps, that on neither stays around all."""

    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((TAPS,), "float32"), y: T.Buffer((ROWS,), "float32")):
        for i in range(ROWS):
            for k in range(TAPS):
                if i < 7 and i + k < 9:
                    y[i] = y[i] + x[k]

    after = bound_loops(main)
    outer = next(loop for loop in all_of(tirx.For, after) if loop.loop_var.name == "i")
    assert isinstance(outer.body, tirx.For) and not all_of(tirx.IfThenElse, after)
    np.testing.assert_array_equal(run(after, (TAPS,), (ROWS,)), [10] * 6 + [6] + [0] * 5)


def tiles(split):
    annotations = {"tenfold.split": 1} if split else {}

    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((10,), "float32"), y: T.Buffer((10,), "float32")):
        for t in T.serial(3, annotations=annotations):
            for p in T.unroll(4):
                if t * 4 + p < 10:
                    y[t * 4 + p] = x[t * 4 + p]

    return main


def test_the_last_tile_becomes_code_of_its_own():
    after = bound_loops(tiles(split=True))
    extents = [int(loop.extent) for loop in all_of(tirx.For, after) if loop.kind == tirx.ForKind.SERIAL]
    assert extents == [2]  # and one tile without a loop
    simple = s_tir.transform.StmtSimplify()(tvm.IRModule({"main": after}))["main"]
    (branch,) = all_of(tirx.IfThenElse, simple)  # of the last tile, which unrolling resolves
    assert "t" not in str(branch.condition)
    np.testing.assert_array_equal(run(after, (10,), (10,)), np.arange(1, 11))


def test_loops_are_only_copied_where_they_ask_for_it():
    after = bound_loops(tiles(split=False))
    assert [int(loop.extent) for loop in all_of(tirx.For, after) if loop.kind == tirx.ForKind.SERIAL] == [3]
    np.testing.assert_array_equal(run(after, (10,), (10,)), np.arange(1, 11))


@pytest.mark.parametrize("kind", ["parallel", "memory", "else"])
def test_what_is_left_alone(kind):
    """Loops over threads, conditions on values, and branches of which something else is the other half."""
    if kind == "parallel":

        @T.prim_func(s_tir=True)
        def main(x: T.Buffer((ROWS,), "float32"), y: T.Buffer((ROWS,), "float32")):
            for i in T.parallel(ROWS):
                if i < 5:
                    y[i] = x[i]

    elif kind == "memory":

        @T.prim_func(s_tir=True)
        def main(x: T.Buffer((ROWS,), "float32"), y: T.Buffer((ROWS,), "float32")):
            for i in range(ROWS):
                if x[i] < T.float32(6):
                    y[i] = x[i]

    else:

        @T.prim_func(s_tir=True)
        def main(x: T.Buffer((ROWS,), "float32"), y: T.Buffer((ROWS,), "float32")):
            for i in range(ROWS):
                if i < 5:
                    y[i] = x[i]
                else:
                    y[i] = T.float32(0)

    after = bound_loops(main)
    tvm.ir.assert_structural_equal(after, main)
    np.testing.assert_array_equal(run(after, (ROWS,), (ROWS,)), [1, 2, 3, 4, 5] + [0] * 7)


def vectors(channels, lanes):
    """y[c] = 2 x[c] in vectors, the last of which the channels need not fill."""
    count = -(-channels // lanes)

    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((channels,), "float32"), y: T.Buffer((channels,), "float32")):
        for v in T.serial(count, annotations={SPLIT: ALIKE}):
            for lane in T.vectorized(lanes):
                if v * lanes + lane < channels:
                    y[v * lanes + lane] = x[v * lanes + lane] * T.float32(2)

    return main


@pytest.mark.parametrize(("channels", "lengths"), [(40, {16, 8}), (48, {16}), (23, {16, 7}), (5, {5})])
def test_a_vector_that_is_not_full_is_a_shorter_one(channels, lengths):
    after = BoundLoops()(tvm.IRModule({"main": vectors(channels, 16)}))["main"]
    assert not all_of(tirx.IfThenElse, after)
    assert {int(loop.extent) for loop in all_of(tirx.For, after) if loop.kind == tirx.ForKind.VECTORIZED} == lengths
    np.testing.assert_array_equal(run(after, (channels,), (channels,)), 2 * np.arange(1, channels + 1))


@pytest.mark.parametrize("how", [ALIKE, EACH])
def test_each_value_at_the_ends_can_stand_by_itself(how):
    """The sum of five neighbours: of the first two and the last two, some lie outside."""

    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((ROWS,), "float32"), y: T.Buffer((ROWS,), "float32")):
        for i in T.serial(ROWS, annotations={SPLIT: how}):
            for k in T.unroll(5):
                if 2 <= i + k and i + k < ROWS + 2:
                    y[i] = y[i] + x[i + k - 2]

    after = BoundLoops()(tvm.IRModule({"main": main}))["main"]
    sums = np.convolve(np.arange(1, ROWS + 1), np.ones(5), "same")
    np.testing.assert_array_equal(run(after, (ROWS,), (ROWS,)), sums)
    serial = [int(loop.extent) for loop in all_of(tirx.For, after) if loop.kind == tirx.ForKind.SERIAL]
    assert serial == ([2, ROWS - 4, 2] if how == ALIKE else [ROWS - 4])


def test_a_vector_of_several_statements_becomes_one_of_each():
    """Whatever holds for one of them bounds that one alone."""
    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((16,), "float32"), y: T.Buffer((2, 16), "float32")):
        for lane in T.vectorized(16):
            if lane < 10:
                y[0, lane] = x[lane]
            if lane < 0:
                y[1, lane] = x[lane]

    func = bound_loops(main)
    assert [int(loop.extent) for loop in all_of(tirx.For, func)] == [10]
    assert not all_of(tirx.IfThenElse, func)
    np.testing.assert_array_equal(run(func, (16,), (2, 16)), [[*range(1, 11), *[0] * 6], [0] * 16])
