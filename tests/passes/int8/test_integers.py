"""Integers behind weights in float32: found wherever there are some, and the same weights again."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tenfold.passes.int8.integers import as_integers


@given(integers=arrays.arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 90))), seed=st.integers(0, 99))
@settings(deadline=None, derandomize=True)
def test_weights_that_were_dequantized(integers, seed):
    steps = np.random.default_rng(seed).uniform(1e-4, 10, len(integers)).astype(np.float32)
    weight = integers.astype(np.float32) * steps[:, None]
    found, sizes = as_integers(weight)
    assert found.dtype == np.int8 and sizes.dtype == np.float32
    np.testing.assert_allclose(found.astype(np.float64) * sizes[:, None], weight, rtol=3e-7)


def test_a_filter_of_zeros_and_one_of_the_smallest_byte():
    found, steps = as_integers(np.array([[0, 0], [-128 * 0.5, 127 * 0.5]], np.float32))
    np.testing.assert_array_equal(found, [[0, 0], [-128, 127]])
    assert steps[1] == 0.5


@pytest.mark.parametrize("weight", [
    np.random.default_rng(0).standard_normal((4, 30)),  # no steps at all
    np.arange(-200, 100).reshape(1, -1),  # more steps than a byte has
    np.arange(0, 200).reshape(1, -1),  # an unsigned weight with a zero point
    np.array([[1.0, np.nan]]), np.array([[1.0, np.inf]]),
])
def test_other_weights_are_refused(weight):
    assert as_integers(weight.astype(np.float32)) is None


def test_one_filter_of_other_weights_is_enough_to_refuse():
    weight = np.tile(np.arange(-100, 100, dtype=np.float32), (3, 1))
    assert as_integers(weight) is not None
    weight[1, 7] += 0.3
    assert as_integers(weight) is None
