"""Kernels read and write arrays at any address, and compute the same."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
import tvm_ffi
from tenfold.codegen.unaligned_parameters import UnalignedParameters
from tenfold.schedules.tir.bound_loops import lower_blocks
from tenfold.targets import resolve
from tvm import te

HOST = resolve("host").tvm_target()
SHAPE = 8, 64


@pytest.fixture(scope="module")
def doubled():
    """2 x, in whole vectors."""
    x = te.placeholder(SHAPE, name="x")
    y = te.compute(SHAPE, lambda i, j: x[i, j] * 2.0, name="y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]).with_attr("global_symbol", "main"))
    schedule.vectorize(schedule.split(schedule.get_loops("y")[1], [None, 16])[1])
    return UnalignedParameters()(lower_blocks(schedule.mod))


def test_no_more_is_assumed_than_the_alignment_of_a_number(doubled):
    assert [param.ty.data_alignment for param in doubled["main"].params] == [4, 4]


@pytest.mark.parametrize("offset", [0, 4, 16, 36])
def test_arrays_may_lie_anywhere(doubled, offset):
    kernel = tvm.tirx.build(doubled, target=HOST)["main"]
    x, y = (_at(offset), _at(offset))
    x[:] = np.random.default_rng(0).standard_normal(SHAPE)
    kernel(tvm_ffi.from_dlpack(x), tvm_ffi.from_dlpack(y))
    np.testing.assert_array_equal(y, 2 * x)


def _at(offset: int) -> np.ndarray:
    """An array that begins so many bytes behind a multiple of 64."""
    raw = np.empty(4 * SHAPE[0] * SHAPE[1] + 128, np.uint8)
    return np.ndarray(SHAPE, "float32", raw, -raw.ctypes.data % 64 + offset)
