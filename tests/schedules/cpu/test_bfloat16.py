"""Kernels of bfloat16: near the sums of the rounded operands for every geometry, as far as float32 sums can be; instructions by preset."""
from __future__ import annotations

import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import tvm
from geometries import layers
from half_checks import bound_of, expected
from host_model import model, named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.codegen.stack_buffers import PIPELINE
from tenfold.runner.build import describe_target
from tenfold.runtime.requirements import lacking
from tenfold.schedules.backend import Kernel, LayerConstants, backend_of
from tenfold.schedules.cpu import RULES
from tenfold.schedules.cpu.bfloat16.kernel import HalfDepthwise, choose_half_convolution, choose_half_dense
from tenfold.schedules.cpu.bfloat16.numbers import from_bfloat16, to_bfloat16
from tenfold.schedules.cpu.int8.isa import pair_dot_of
from tenfold.schedules.driver import schedule_function
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.schedules.tir.pair_products import rounded
from tenfold.targets import CpuTarget, resolve
from tvm import te

INSTRUCTIONS = {"zen4": r"vdpbf16ps\s.*%zmm", "sapphirerapids": r"vdpbf16ps\s.*%zmm", "neoverse-v1": r"bfdot\tv\d+\.4s"}
HOST = resolve("host")


def built(kernel: Kernel, target: CpuTarget, host: CpuTarget | None, x: tuple[int, ...], constants: LayerConstants):
    """The library of a kernel of a target; where `host` is given, with the code of that one in place of the target's instructions."""
    bound = kernel.bind(constants)
    shapes = [(x, "uint16"), *((array.shape, str(array.dtype)) for array in bound.constants)]
    placeholders = [te.placeholder(shape, dtype, name=f"p{i}") for i, (shape, dtype) in enumerate(shapes)]
    result = bound.compute(*placeholders)
    schedule = schedule_function(te.create_prim_func([*placeholders, result]), RULES, target)
    assert schedule is not None
    loops = backend_of(target if host is None else replace(target, features=())).lower_loops(schedule.mod)
    code = tvm.tirx.build(loops, target=(host or target).tvm_target(), pipeline=PIPELINE)
    return code, bound.constants, [int(size) for size in result.shape]


def run(kernel: Kernel, target: CpuTarget, host: CpuTarget | None, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    code, constants, shape = built(kernel, target, host, x.shape, LayerConstants(weight))
    out = tvm.runtime.tensor(np.full(shape, np.nan, "float32"))
    code["main"](*[tvm.runtime.tensor(array) for array in (x, *constants)], out)
    return out.numpy()


def ways() -> list[tuple[CpuTarget, CpuTarget | None]]:
    """The loops as they are written, on any CPU; and the instructions, where this one has them."""
    own = [(model("zen4"), None)] if lacking(describe_target(named("zen4"))) is None else []
    return [(named("zen4"), HOST), *own]


def check(geometry: ConvGeometry, x: np.ndarray, weight: np.ndarray) -> None:
    halves = to_bfloat16(x)
    sums, magnitudes = expected(from_bfloat16(halves), from_bfloat16(to_bfloat16(weight)), geometry)
    for target, host in ways():
        kernel = choose_half_convolution(ConvWorkload(geometry, x.shape[1:3], x.shape[3], x.shape[0]), target)
        assert kernel is not None
        assert (np.abs(run(kernel, target, host, halves, weight) - sums) <= bound_of(magnitudes, weight[0].size)).all()


@given(case=layers(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=6, derandomize=True)
def test_any_geometry(case, seed):
    geometry, shape = case
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((geometry.filters, shape[-1] // geometry.groups, *geometry.kernel), "float32")
    check(geometry, rng.standard_normal(shape, "float32"), weight)


@pytest.mark.parametrize(("channels", "stride", "kernel"), [(16, 1, (3, 3)), (40, 2, (5, 5))])
def test_depthwise(channels, stride, kernel):
    rng = np.random.default_rng(2)
    geometry = ConvGeometry(channels, kernel, (stride, stride), (2, 1, 1, 2), groups=channels)
    weight = rng.standard_normal((channels, 1, *kernel), "float32")
    check(geometry, rng.standard_normal((2, 11, 13, channels), "float32"), weight)
    assert isinstance(choose_half_convolution(ConvWorkload(geometry, (11, 13), channels, 2), named("zen4")), HalfDepthwise)


@pytest.mark.parametrize("shape", [(3, 9), (64, 64), (5, 30), (2, 3, 16)])
def test_dense(shape):
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal(shape, "float32"), rng.standard_normal((37, shape[-1]), "float32")
    left, right = (from_bfloat16(to_bfloat16(each)).astype("float64") for each in (x, weight))
    for target, host in ways():
        kernel = choose_half_dense(DenseWorkload(int(np.prod(shape[:-1])), shape[-1], 37), target)
        error = np.abs(run(kernel, target, host, to_bfloat16(x), weight) - left @ right.T)
        assert (error <= bound_of(np.abs(left) @ np.abs(right.T), shape[-1])).all()


def test_every_point_of_the_space_computes_the_same():
    target, rng = named("zen4"), np.random.default_rng(3)
    geometry, shape = ConvGeometry(40, (3, 3), padding=(1,) * 4), (1, 7, 9, 12)
    x, weight = rng.standard_normal(shape, "float32"), rng.standard_normal((40, 12, 3, 3), "float32")
    sums, magnitudes = expected(from_bfloat16(to_bfloat16(x)), from_bfloat16(to_bfloat16(weight)), geometry)
    kernel = choose_half_convolution(ConvWorkload(geometry, shape[1:3], shape[3], 1), target)
    points = list(kernel.space())
    assert points[0] == kernel.point and kernel.terms()
    for point in rng.choice(points, 3, replace=False):
        assert kernel.at(point).point == point
        error = np.abs(run(kernel.at(point), target, HOST, to_bfloat16(x), weight) - sums)
        assert (error <= bound_of(magnitudes, 108)).all()


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_instructions_of_other_cpus(name):
    """Of a preset as it is: the code is not run."""
    target = named(name)
    kernel = choose_half_convolution(ConvWorkload(ConvGeometry(64, (1, 1)), (14, 14), 64, 1), target)
    code, _, _ = built(kernel, target, None, (1, 14, 14, 64), LayerConstants(np.ones((64, 64, 1, 1), "float32")))
    text = code.inspect_source("asm")
    assert len(re.findall(INSTRUCTIONS[name], text)) >= kernel.tile.pixels * kernel.tile.vectors
    assert "vfmadd" not in text and "fmla" not in text


def test_targets_without_such_instructions_have_no_kernel():
    workload = ConvWorkload(ConvGeometry(64, (1, 1)), (14, 14), 64, 1)
    for name in ("zen3", "icelake-server", "cortex-a72", "neoverse-n1"):
        assert pair_dot_of(named(name)) is None and choose_half_convolution(workload, named(name)) is None
    assert backend_of(resolve("sm_90")).half_convolution(workload) is None
    assert not backend_of(named("zen4")).rounds_operands  # nobody asked for it
    assert backend_of(named("zen4").with_precision("bfloat16")).rounds_operands


NUMBERS = np.float32([0.0, -0.0, 1.0, 1.00390625, 1.01171875, -1.00390625, 3.4e38, -3.4e38, np.inf, -np.inf, 1e-40, 2e-45, 0.1, np.nan, 7,
                      -3e-39])


def test_rounding_is_to_nearest_even():
    """Halves between two numbers, what is too large, denormals: as the type of another library has them; so in a kernel."""
    numbers = np.concatenate([NUMBERS, np.random.default_rng(0).standard_normal(1008, "float32")])
    wanted = numbers.astype(ml_dtypes.bfloat16).view("uint16")
    x = te.placeholder((1024,), "float32", name="x")
    func = te.create_prim_func([x, te.compute(x.shape, lambda i: rounded(x[i]), name="rounded")])
    backend = backend_of(HOST)
    scheduled = schedule_function(func, RULES, HOST)
    kernel = tvm.compile(backend.lower_loops(backend.lower_math(scheduled.mod)), target=HOST.tvm_target())["main"]
    out = tvm.runtime.tensor(np.zeros(1024, "uint16"))
    kernel(tvm.runtime.tensor(numbers), out)
    for found in (out.numpy(), to_bfloat16(numbers)):
        np.testing.assert_array_equal(from_bfloat16(found), from_bfloat16(wanted))
