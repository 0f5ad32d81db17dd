"""Matrix instructions of a warp, and half precision, against NumPy."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tenfold.runner.devices.cuda import CudaProgram, EmulationError
from tenfold.runtime.cuda.launches import Launch

SOURCE = Path(__file__).with_name("matrices.cu").read_text()
ORDERS = ("forward", "backward", 5)


@pytest.fixture(scope="module")
def program(folder):
    return CudaProgram(SOURCE, folder)


def run(program, kernel, *operands, outputs=(2,), blocks=1, **options):
    program.launch(Launch(kernel, (blocks, 1, 1), (32, 1, 1), 0, tuple(range(len(operands)))), operands, outputs=outputs, **options)


def random(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def without_low_bits(values):
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def rounded(values):
    """To the nearest number with ten bits behind the point of the mantissa."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.trunc(mantissa * 2048 + np.copysign(0.5, mantissa)) / 2048, exponent).astype(np.float32)


@pytest.mark.quick(1)
@pytest.mark.parametrize("order", ORDERS)
def test_tf32_ignores_the_low_bits(program, order):
    a, b, c = random(16, 8), random(8, 8), random(16, 8)
    expected = c + without_low_bits(a) @ without_low_bits(b)
    run(program, "tf32_k8", a, b, c, outputs=None, order=order)
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - (a @ b)).max() > 1e-3  # float32 would be something else


@pytest.mark.parametrize("order", ORDERS)
def test_tf32_rounded(program, order):
    a, b, c = random(16, 4), random(4, 8), np.zeros((16, 8), np.float32)
    run(program, "tf32_k4_rounded", a, b, c, order=order)
    np.testing.assert_allclose(c, rounded(a) @ rounded(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_half_with_sums_in_float(program, order):
    a, b, c = random(16, 16, dtype=np.float16), random(8, 16, dtype=np.float16), np.zeros((16, 8), np.float32)
    run(program, "f16_k16", a, b, c, order=order)
    np.testing.assert_allclose(c, a.astype(np.float32) @ b.astype(np.float32).T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_half_with_sums_in_half(program, order):
    a, b, c = random(16, 8, dtype=np.float16), random(8, 8, dtype=np.float16), np.zeros((16, 8), np.float16)
    run(program, "f16_k8_half_sums", a, b, c, order=order)
    np.testing.assert_allclose(c, a.astype(np.float32) @ b.astype(np.float32), rtol=1e-3, atol=1e-3)


def test_whole_matrices(program):
    a, b, c = random(16, 16, dtype=np.float16), random(16, 16, dtype=np.float16), np.zeros((16, 16), np.float32)
    run(program, "whole_matrices", a, b, c)
    np.testing.assert_allclose(c, 1 + a.astype(np.float32) @ b.astype(np.float32).T, rtol=1e-5, atol=1e-6)


def test_a_warp_that_is_not_full(program):
    operands = random(16, 8), random(8, 8), random(16, 8)
    with pytest.raises(EmulationError, match=r"line \d+: multiplies matrices in a warp that is not full"):
        program.launch(Launch("tf32_k8", (1, 1, 1), (24, 1, 1), 0, (0, 1, 2)), operands)


def test_every_half_is_read(program):
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    y = np.zeros(x.shape, np.float32)
    run(program, "from_half", x, y, outputs=(1,), blocks=2048)
    np.testing.assert_array_equal(y, x.astype(np.float32))


def test_floats_are_rounded_to_half(program):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(1 << 14) * np.exp2(rng.integers(-30, 20, 1 << 14))).astype(np.float32)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)[::4]
    x[:halves.size] = (halves + np.append(halves[1:], 65504)) / 2  # ties
    x[-4:] = [np.inf, -np.inf, 65519.99, 65520]
    y = np.zeros(x.shape, np.float16)
    run(program, "to_half", x, y, outputs=(1,), blocks=512)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, x.astype(np.float16))


def test_constants_in_half_precision_are_written(program):
    y = np.zeros(32, np.float16)
    run(program, "half_constants", y, outputs=(0,))
    assert (y == 6).all()


def test_neighbours_of_a_word_are_no_race(program):
    x, y = random(32, dtype=np.float16), np.zeros(32, np.float16)
    run(program, "neighbours", x, y, outputs=(1,))
    np.testing.assert_array_equal(y, x[::-1] + x)
