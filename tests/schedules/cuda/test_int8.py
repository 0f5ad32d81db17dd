"""Kernels of bytes for GPUs under emulation: exact sums for every geometry and every kind of kernel, extremes included."""
from __future__ import annotations

import numpy as np
import pytest
from byte_checks import expected, layers
from cuda_checks import ORDERS, TARGET, Emulated, emulated, function_of, run_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import LayerConstants, backend_of
from tenfold.schedules.cuda.int8.kernel import choose_byte_convolution, choose_byte_dense
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.schedules.tir.dot_products import MOST_PRODUCTS
from tenfold.targets import resolve
from tvm import te, tirx


def operands(geometry: ConvGeometry, shape, seed: int = 0, extreme: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    weight = rng.integers(-128, 128, (geometry.filters, shape[-1] // geometry.groups, *geometry.kernel)).astype(np.int8)
    return (np.full(shape, 255, np.uint8), np.where(weight < 0, -128, 127).astype(np.int8)) if extreme else (x, weight)


def workload_of(geometry: ConvGeometry, shape) -> ConvWorkload:
    return ConvWorkload(geometry, tuple(shape[1:3]), shape[3], shape[0])


@given(case=layers(), zero=st.sampled_from([0, 0, 1, 128, 255]), extreme=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=8, derandomize=True)
def test_any_geometry_is_exact(case, zero, extreme, seed):
    geometry, shape = case
    x, weight = operands(geometry, shape, seed, extreme)
    kernel = backend_of(TARGET).byte_convolution(workload_of(geometry, shape))
    sums = run_kernel(kernel, [LayerConstants(weight, zero=zero)], x, order=seed)
    np.testing.assert_array_equal(sums, expected(x, weight, zero, geometry))


PADDED = ConvGeometry(40, (3, 3), padding=(1, 1, 1, 1))
SHAPE = (1, 7, 9, 32)


def at(geometry: ConvGeometry, shape, target=TARGET, **knobs):
    kernel = choose_byte_convolution(workload_of(geometry, shape), target)
    return kernel.at({**kernel.point, **knobs})


@pytest.mark.parametrize("sizes", [(64, 32, 16, 32, 32, 1, 3), (32, 64, 16, 16, 32, 2, 2), (16, 16, 32, 16, 16, 1, 4)])
def test_tiles(sizes):
    knobs = dict(zip(("rows", "filters", "depth", "warp_rows", "warp_filters", "splits", "stages"), sizes, strict=True))
    x, weight = operands(PADDED, SHAPE)
    for order in ORDERS:
        sums = run_kernel(at(PADDED, SHAPE, **knobs), [LayerConstants(weight, zero=9)], x, order=order)
        np.testing.assert_array_equal(sums, expected(x, weight, 9, PADDED))


def test_a_gpu_without_asynchronous_copies():
    target = resolve("sm_75")
    kernel, (x, weight) = at(PADDED, SHAPE, target), operands(PADDED, SHAPE)
    func, constants = function_of(kernel, [LayerConstants(weight, zero=9)], SHAPE, (), "uint8", target)
    code, out = emulated(func, target=target), np.full((1, 7, 9, 40), 77, np.int32)
    assert "cp.async" not in code.source
    older = Emulated(code.source.replace("#if __CUDA_ARCH__ >= 800", "#if 0"), code.routines)  # as nvcc has it for sm_75
    for each in (code, older):
        each.call("main", [x, *constants, out])
        np.testing.assert_array_equal(out, expected(x, weight, 9, PADDED))
        out[:] = 77
