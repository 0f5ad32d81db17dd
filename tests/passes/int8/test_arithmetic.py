"""From numbers to bytes and back: roundings, ends, NaN."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tenfold.passes.int8.arithmetic import quantize_by_product
from tenfold.passes.int8.quantization import Quantization
from tenfold.passes.legalize import legalize
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve
from tvm import ir, relax

HOST = resolve("host")


def run(build: Callable[[relax.BlockBuilder, relax.Var], ir.Expr], x: np.ndarray) -> np.ndarray:
    """What a function of one tensor computes on this machine, legalized as in the pipeline."""
    data, builder = relax.Var("x", relax.TensorType(x.shape, str(x.dtype))), relax.BlockBuilder()
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(build(builder, data))
        builder.emit_func_output(result)
    with HOST.tvm_target():
        mod = legalize(builder.get(), backend_of(HOST))
    machine = relax.VirtualMachine(tvm.compile(mod, target=HOST.tvm_target()), tvm.cpu())
    return machine["main"](tvm.runtime.tensor(x)).numpy()


@pytest.mark.parametrize("q", [Quantization(0.5, 3, "uint8"), Quantization(0.25, -7, "int8")])
def test_half_steps_go_to_the_even_one_and_ends_saturate(q):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, np.inf, -np.inf], np.float32) * np.float32(q.scale)
    limits = np.iinfo(q.dtype)
    expected = np.clip(np.rint(x.astype(np.float64) / q.scale) + q.zero, limits.min, limits.max)
    for build in (lambda builder, data: quantize_by_product(builder, data, q), lambda builder, data: q.quantize(data)):
        np.testing.assert_array_equal(run(build, x), expected.astype(q.dtype))


@pytest.mark.parametrize("q", [Quantization(0.5, 3, "uint8"), Quantization(0.25, -7, "int8")])
def test_nan_becomes_the_largest_byte_as_by_division(q):
    x = np.full(20, np.nan, np.float32)
    for build in (lambda builder, data: quantize_by_product(builder, data, q), lambda builder, data: q.quantize(data)):
        np.testing.assert_array_equal(run(build, x), np.full(20, np.iinfo(q.dtype).max))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_every_byte_becomes_the_product_rounded_once(dtype):
    q = Quantization(float(np.float32(0.0173)), 11, dtype)
    x = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    expected = (x.astype(np.int32) - 11).astype(np.float32) * np.float32(q.scale)
    np.testing.assert_array_equal(run(lambda builder, data: q.dequantize(data), x), expected)


def test_averages_round_like_products_that_are_added_one_by_one():
    """One instruction for a product and a sum would round once where ONNX rounds twice: then some averages go to the other byte."""
    q, rng = Quantization(float(np.float32(0.0173)), 11, "uint8"), np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 2, 2, 4096)).astype(np.uint8)

    def build(builder: relax.BlockBuilder, data: relax.Var) -> ir.Expr:
        return relax.op.nn.avg_pool2d(builder.emit(q.dequantize(data)), (2, 2), layout="NHWC")

    numbers = (x.astype(np.int32) - 11).astype(np.float32) * np.float32(q.scale)
    total = np.zeros((1, 4096), np.float32)
    for y, column in np.ndindex(2, 2):
        total = total + numbers[:, y, column]
    np.testing.assert_array_equal(run(build, x)[:, 0, 0], total / np.float32(4))


def test_scales_whose_reciprocal_float32_does_not_hold_are_left_to_division():
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType((4,), "float32"))
    with builder.function("main", [x]):
        assert quantize_by_product(builder, x, Quantization(1e-39, 0, "uint8")) is None
        builder.emit_func_output(x)
