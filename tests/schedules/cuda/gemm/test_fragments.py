"""Rounding of operands."""
from __future__ import annotations

import numpy as np
import pytest
from tenfold.schedules.cuda.gemm.fragments import pack_fragments, tf32, tf32_patches
from tenfold.schedules.cuda.gemm.tensor_tile import TensorTile

SCALES = np.exp2(np.random.default_rng(1).integers(-40, 40, 1 << 18))
VALUES = (np.random.default_rng(0).standard_normal(1 << 18) * SCALES).astype(np.float32)


def nearest(values):
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.trunc(mantissa * 2048 + np.copysign(0.5, mantissa)) / 2048, exponent)


def errors(rounded):
    return (rounded.astype(np.float64) - VALUES) / VALUES * 2.0**11


def test_weights_are_rounded_to_the_nearest_number():
    np.testing.assert_array_equal(tf32(VALUES), nearest(VALUES))
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(tf32(special), special)


def test_patches_are_rounded_without_bias():
    found, best = errors(tf32_patches(VALUES)), errors(tf32(VALUES))
    assert abs(found.mean()) < 5e-3 and np.abs(found).max() < 1.29
    assert 1 < np.sqrt(np.mean(found**2) / np.mean(best**2)) < 1.07
    np.testing.assert_array_equal(tf32_patches(tf32(VALUES)), tf32(VALUES))
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(tf32_patches(special), special)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_every_weight_is_packed_once(precision):
    weight = np.arange(1, 1 + 2 * 5 * 3 * 2 * 2, dtype=np.float32).reshape(10, 3, 2, 2)
    packed = pack_fragments(weight, 2, TensorTile(16, 16, 32, 16, 16, precision=precision))
    assert packed.dtype == {"tf32": np.float32, "fp16": np.float16}[precision] and packed.shape[0] == 2
    np.testing.assert_array_equal(np.sort(packed[packed != 0]), weight.ravel())
