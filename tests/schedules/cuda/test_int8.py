"""Kernels of bytes for GPUs under emulation: exact sums for every geometry and every kind of kernel, extremes included."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from byte_checks import expected
from cuda_checks import ORDERS, TARGET, Emulated, emulated, function_of, run_kernel
from cuda_faults import faults
from geometries import layers
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.runner.devices.cuda import EmulationError
from tenfold.schedules.backend import LayerConstants, backend_of
from tenfold.schedules.cuda.gemm.tensor_schedule import schedule_tensor
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


def test_the_schedule_is_right_without_tensor_cores():
    kernel, (x, weight) = at(PADDED, SHAPE, rows=64, filters=32, depth=16, warp_rows=32, warp_filters=32, stages=3), operands(PADDED, SHAPE)
    bound = kernel.bind(LayerConstants(weight))
    [packed] = bound.constants
    data, w = te.placeholder(SHAPE, "uint8", "x"), te.placeholder(packed.shape, "int8", "w")
    schedule = schedule_tensor(te.create_prim_func([data, w, bound.compute(data, w)]), TARGET, tensorize=False)
    code, out = emulated(schedule.mod["main"]), np.full((1, 7, 9, 40), 77, np.int32)
    assert "mma.sync" not in code.source
    code.call("main", [x, packed, out])
    np.testing.assert_array_equal(out, expected(x, weight, 0, PADDED))


@pytest.mark.parametrize("weight", [-128, 127])
def test_no_sum_saturates(weight):
    """Sums near the end of 32 bits' half, beyond what 16 bits or float32 hold."""
    geometry, shape = ConvGeometry(16, (3, 3), padding=(1,) * 4), (1, 4, 4, 512)
    kernel, x, weights = at(geometry, shape), np.full(shape, 255, np.uint8), np.full((16, 512, 3, 3), weight, np.int8)
    np.testing.assert_array_equal(run_kernel(kernel, [LayerConstants(weights, zero=255)], x), np.zeros((1, 4, 4, 16), np.int32))
    np.testing.assert_array_equal(run_kernel(kernel, [LayerConstants(weights)], x), expected(x, weights, 0, geometry))


@pytest.mark.parametrize(("channels", "stride", "dilation", "kernel"), [(16, 1, 1, (3, 3)), (7, 2, 2, (3, 2))])
def test_depthwise(channels, stride, dilation, kernel):
    geometry = ConvGeometry(channels, kernel, (stride, stride), (2, 1, 1, 2), (dilation, dilation), channels)
    shape = (2, 11, 13, channels)
    x, weight = operands(geometry, shape)
    chosen = at(geometry, shape)
    assert chosen.name == "int8_depthwise" and chosen.point["algorithm"] == "direct"
    np.testing.assert_array_equal(run_kernel(chosen, [LayerConstants(weight, zero=7)], x), expected(x, weight, 7, geometry))


@pytest.mark.parametrize("shape", [(1, 9), (3, 140), (5, 30), (2, 3, 64)])
def test_dense(shape):
    rng = np.random.default_rng(1)
    x, weight = rng.integers(0, 256, shape).astype(np.uint8), rng.integers(-128, 128, (37, shape[-1])).astype(np.int8)
    rows = int(np.prod(shape[:-1]))
    kernel = choose_byte_dense(DenseWorkload(rows, shape[-1], 37), TARGET)
    assert kernel.point["algorithm"] == ("tensor" if rows > 4 else "matvec")
    sums = run_kernel(kernel, [LayerConstants(weight, zero=131)], x)
    np.testing.assert_array_equal(sums, (x.astype(np.int64) - 131) @ weight.T.astype(np.int64))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_points_of_the_spaces_compute_the_same(seed):
    rng = np.random.default_rng(seed)
    geometry, shape = ConvGeometry(40, (3, 3), padding=(1,) * 4), (1, 7, 9, (12, 32, 5)[seed])
    x, weight = operands(geometry, shape)
    kernel = at(geometry, shape)
    points = list(kernel.space())
    assert points[0] == kernel.point and {point["algorithm"] for point in points} == {"tensor", "direct"}
    for point in rng.choice(points, 3, replace=False):
        built = kernel.at(point)
        assert built.point == point and built.terms()
        np.testing.assert_array_equal(run_kernel(built, [LayerConstants(weight, zero=9)], x), expected(x, weight, 9, geometry))
    layer = DenseWorkload(6, 48, 20)
    dense = choose_byte_dense(layer, TARGET)
    x, weight = rng.integers(0, 256, (6, 48)).astype(np.uint8), rng.integers(-128, 128, (20, 48)).astype(np.int8)
    points = list(dense.space())
    for point in (rng.choice([each for each in points if each["algorithm"] == kind]) for kind in ("matvec", "tensor")):
        built = dense.at(point)
        assert built.point == point and built.terms()
        np.testing.assert_array_equal(run_kernel(built, [LayerConstants(weight)], x), x.astype(np.int64) @ weight.T)


@pytest.mark.parametrize("depth", [16, 32])
def test_banks_of_shared_memory_do_not_conflict(depth):
    geometry, shape = ConvGeometry(64, (3, 3), padding=(1, 1, 1, 1)), (1, 8, 8, 128)
    kernel = at(geometry, shape, rows=64, filters=64, depth=depth, warp_rows=32, warp_filters=32, stages=3, splits=1)
    weight = operands(geometry, shape)[1]
    func, constants = function_of(kernel, [LayerConstants(weight)], shape, (), "uint8")
    code = emulated(func, counting=True)
    code.call("main", [np.zeros(shape, np.uint8), *constants, np.zeros((1, 8, 8, 64), np.int32)])
    [counts] = code.counts.values()
    assert 0 < counts.shared_wavefronts <= 1.1 * counts.least_wavefronts


def quantized(y: te.Tensor) -> te.Tensor:
    """Sums as bytes again."""
    def value(*i):
        rounded = tirx.round(y(*i).astype("float32") * tirx.const(2.0**-9, "float32")) + tirx.const(100.0, "float32")
        return tirx.max(tirx.min(rounded, tirx.const(255.0, "float32")), tirx.const(0.0, "float32")).astype("uint8")

    return te.compute(y.shape, value, "quantized")


def test_results_are_bytes_that_are_stored_four_at_a_time():
    x, weight = operands(PADDED, SHAPE)
    kernel = at(PADDED, SHAPE, rows=64, filters=32, depth=16, warp_rows=32, warp_filters=32, stages=3)
    func, constants = function_of(kernel, [LayerConstants(weight, zero=9)], SHAPE, [quantized], "uint8")
    code, out = emulated(func), np.full((1, 7, 9, 40), 77, np.uint8)
    code.call("main", [x, *constants, out])
    wanted = np.clip(np.rint(expected(x, weight, 9, PADDED) * 2.0**-9) + 100, 0, 255)
    np.testing.assert_array_equal(out, wanted)
    assert "*(uint*)(" in code.source.rsplit("quantized", 1)[-1] and len(np.unique(out)) > 50


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("stages", [2, 3])
def test_each_fault_is_noticed(stages):
    x, weight = operands(PADDED, SHAPE)
    kernel = at(PADDED, SHAPE, rows=64, filters=32, depth=16, warp_rows=32, warp_filters=16, stages=stages)
    func, constants = function_of(kernel, [LayerConstants(weight, zero=9)], SHAPE, (), "uint8")
    code, wanted = emulated(func), expected(x, weight, 9, PADDED)
    found = list(faults(code.source))
    assert len(found) >= 10 and {"__syncthreads();"} < {what for what, _ in found}
    for what, source in found:
        out = np.full(wanted.shape, 77, np.int32)
        try:
            Emulated(source, code.routines).call("main", [x, *constants, out])
        except EmulationError:
            continue
        assert (out != wanted).any(), what


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("faulty", ["direct", "matvec"])
def test_each_fault_of_other_kernels_is_noticed(faulty):
    """The guards of a depthwise layer on padding, and of a product of terms that fill no whole step."""
    if faulty == "direct":
        geometry, shape = ConvGeometry(8, (3, 3), padding=(1,) * 4, groups=8), (1, 5, 5, 8)
        x, weight = operands(geometry, shape)
        kernel, wanted = at(geometry, shape), expected(x, weight, 7, geometry)
    else:
        shape = (1, 136)
        rng = np.random.default_rng(0)
        x, weight = rng.integers(1, 256, shape).astype(np.uint8), rng.integers(1, 128, (6, 136)).astype(np.int8)
        kernel, wanted = choose_byte_dense(DenseWorkload(1, 136, 6), TARGET), (x.astype(np.int64) - 7) @ weight.T
    func, constants = function_of(kernel, [LayerConstants(weight, zero=7)], shape, (), "uint8")
    code = emulated(func)
    noticed = 0
    for _what, source in faults(code.source):
        out = np.full(wanted.shape, 77, np.int32)
        try:
            Emulated(source, code.routines).call("main", [x, *constants, out])
        except EmulationError:
            noticed += 1
            continue
        noticed += bool((out != wanted).any())
    assert noticed >= 1


def test_sums_that_may_leave_32_bits_are_refused():
    assert choose_byte_dense(DenseWorkload(1, MOST_PRODUCTS, 8), TARGET) is not None
    assert choose_byte_dense(DenseWorkload(1, MOST_PRODUCTS + 1, 8), TARGET) is None
    large = ConvWorkload(ConvGeometry(8, (5, 5)), (8, 8), MOST_PRODUCTS // 25 + 1, 1)
    assert choose_byte_convolution(large, TARGET) is None
    assert choose_byte_convolution(replace(large, channels=MOST_PRODUCTS // 25), TARGET) is not None


def test_a_gpu_says_by_its_figures_that_it_multiplies_bytes():
    workload = workload_of(PADDED, SHAPE)
    without = replace(TARGET, model=replace(TARGET.model, byte_fma_per_cycle=0))
    assert backend_of(TARGET).on_bytes and not backend_of(without).on_bytes
    assert backend_of(without).byte_convolution(workload) is None and backend_of(without).byte_dense(DenseWorkload(8, 8, 8)) is None
