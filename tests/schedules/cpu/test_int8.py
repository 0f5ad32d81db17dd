"""Kernels of bytes: exact sums for every geometry and every set of instructions that this machine has, extremes included."""
from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import tvm
from byte_checks import expected
from geometries import layers
from host_model import model, named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.runner.build import describe_target
from tenfold.runtime.requirements import lacking
from tenfold.schedules.backend import Kernel, LayerConstants, backend_of
from tenfold.schedules.cpu import RULES
from tenfold.schedules.cpu.int8.isa import dot_of
from tenfold.schedules.cpu.int8.kernel import choose_byte_convolution, choose_byte_dense
from tenfold.schedules.driver import schedule_function
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.schedules.tir.dot_products import MOST_PRODUCTS
from tenfold.targets import CpuTarget, resolve
from tvm import te

MODELS = ("zen4", "skylake-avx512", "alderlake", "zen3")  # one for each set of instructions
INSTRUCTIONS = {"zen4": "vpdpbusd", "skylake-avx512": "vpmaddwd", "alderlake": "vpdpbusd", "zen3": "vpmaddwd"}


def runnable(name: str) -> CpuTarget:
    """A preset whose vectors and instructions this machine has."""
    if lacking(describe_target(named(name))) is not None:
        pytest.skip(f"this machine can't run the code of {name}")
    return model(name)


def run(kernel: Kernel, target: CpuTarget, x: np.ndarray, constants: LayerConstants) -> tuple[np.ndarray, str]:
    """What a kernel computes on this machine, and its machine code."""
    bound = kernel.bind(constants)
    arrays = [x, *bound.constants]
    placeholders = [te.placeholder(array.shape, str(array.dtype), name=f"p{i}") for i, array in enumerate(arrays)]
    result = bound.compute(*placeholders)
    schedule = schedule_function(te.create_prim_func([*placeholders, result]), RULES, target)
    assert schedule is not None
    built = tvm.compile(backend_of(target).lower_loops(schedule.mod), target=target.tvm_target())
    out = tvm.runtime.tensor(np.full([int(size) for size in result.shape], 77, str(result.dtype)))
    built["main"](*[tvm.runtime.tensor(array) for array in arrays], out)
    return out.numpy(), built.mod.inspect_source("asm")


def check(target: CpuTarget, geometry: ConvGeometry, x: np.ndarray, weight: np.ndarray, zero: int) -> str:
    """Compare a convolution with NumPy's; its machine code."""
    kernel = backend_of(target).byte_convolution(ConvWorkload(geometry, x.shape[1:3], x.shape[3], x.shape[0]))
    assert kernel is not None
    sums, code = run(kernel, target, x, LayerConstants(weight, zero=zero))
    np.testing.assert_array_equal(sums, expected(x, weight, zero, geometry))
    return code


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", MODELS)
@given(case=layers(), zero=st.integers(0, 255), extreme=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=6, derandomize=True)
def test_any_geometry_is_exact(name, case, zero, extreme, seed):
    geometry, shape = case
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    weight = rng.integers(-128, 128, (geometry.filters, shape[-1] // geometry.groups, *geometry.kernel)).astype(np.int8)
    if extreme:
        x[:] = 255
        weight = np.where(weight < 0, -128, 127).astype(np.int8)
    check(runnable(name), geometry, x, weight, zero)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weight", [-128, 127])
def test_no_sum_saturates(name, weight):
    """Pairs of products that leave 16 bits, and sums near the end of 32 bits' half."""
    geometry = ConvGeometry(16, (3, 3), padding=(1,) * 4)
    x = np.full((1, 4, 4, 512), 255, np.uint8)
    check(runnable(name), geometry, x, np.full((16, 512, 3, 3), weight, np.int8), 0)


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 9), (1, 64), (5, 30), (2, 3, 16)])
def test_dense(name, shape):
    target, rng = runnable(name), np.random.default_rng(1)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    weight = rng.integers(-128, 128, (37, shape[-1])).astype(np.int8)
    kernel = choose_byte_dense(DenseWorkload(int(np.prod(shape[:-1])), shape[-1], 37), target)
    sums, _ = run(kernel, target, x, LayerConstants(weight, zero=131))
    np.testing.assert_array_equal(sums, (x.astype(np.int64) - 131) @ weight.T.astype(np.int64))


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("channels", "stride", "dilation", "kernel"), [(16, 1, 1, (3, 3)), (40, 2, 1, (5, 5)), (7, 1, 2, (3, 2))])
def test_depthwise(name, channels, stride, dilation, kernel):
    rng = np.random.default_rng(2)
    geometry = ConvGeometry(channels, kernel, (stride, stride), (2, 1, 1, 2), (dilation, dilation), channels)
    x = rng.integers(0, 256, (2, 11, 13, channels)).astype(np.uint8)
    check(runnable(name), geometry, x, rng.integers(-128, 128, (channels, 1, *kernel)).astype(np.int8), 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zen4", "zen3"])
def test_every_point_of_the_space_computes_the_same(name):
    target, rng = runnable(name), np.random.default_rng(3)
    geometry, shape = ConvGeometry(40, (3, 3), padding=(1,) * 4), (1, 7, 9, 12)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    weight = rng.integers(-128, 128, (40, 12, 3, 3)).astype(np.int8)
    kernel = choose_byte_convolution(ConvWorkload(geometry, shape[1:3], shape[3], 1), target)
    points = list(kernel.space())
    assert points[0] == kernel.point
    assert all(kernel.at(point).point == point for point in points[:: len(points) // 20])
    for point in rng.choice(points, 8, replace=False):
        built = kernel.at(point)
        assert built.terms()
        np.testing.assert_array_equal(run(built, target, x, LayerConstants(weight, zero=9))[0], expected(x, weight, 9, geometry))


@pytest.mark.parametrize("name", MODELS)
def test_the_instructions_of_other_cpus(name):
    """Of a preset as it is: the code is not run."""
    target = named(name)
    kernel = choose_byte_convolution(ConvWorkload(ConvGeometry(64, (1, 1)), (14, 14), 64, 1), target)
    bound = kernel.bind(LayerConstants(np.ones((64, 64, 1, 1), np.int8)))
    data = te.placeholder((1, 14, 14, 64), "uint8", name="x")
    placeholders = [data, *(te.placeholder(array.shape, str(array.dtype), name=f"c{i}") for i, array in enumerate(bound.constants))]
    schedule = schedule_function(te.create_prim_func([*placeholders, bound.compute(*placeholders)]), RULES, target)
    code = tvm.compile(backend_of(target).lower_loops(schedule.mod), target=target.tvm_target()).mod.inspect_source("asm")
    register = "zmm" if target.vector_bits == 512 else "ymm"
    assert len(re.findall(rf"{INSTRUCTIONS[name]}\s.*%{register}", code)) >= kernel.tile.pixels * kernel.tile.vectors
    other = ({"vpdpbusd", "vpmaddwd", "vpmaddubsw"} - {INSTRUCTIONS[name]})
    assert not any(each in code for each in other)


def test_targets_without_such_instructions_have_no_kernel():
    workload = ConvWorkload(ConvGeometry(64, (1, 1)), (14, 14), 64, 1)
    old = resolve({"kind": "llvm", "mcpu": "x86-64-v2"})
    assert dot_of(old) is None and not backend_of(old).on_bytes
    assert backend_of(old).byte_convolution(workload) is None


def test_sums_that_may_leave_32_bits_are_refused():
    target = named("zen4")
    assert choose_byte_dense(DenseWorkload(1, MOST_PRODUCTS, 8), target) is not None
    assert choose_byte_dense(DenseWorkload(1, MOST_PRODUCTS + 1, 8), target) is None
    large = ConvWorkload(ConvGeometry(8, (5, 5)), (8, 8), MOST_PRODUCTS // 25 + 1, 1)
    assert choose_byte_convolution(large, target) is None
    assert choose_byte_convolution(replace(large, channels=MOST_PRODUCTS // 25), target) is not None
