"""How far arrays are apart."""
from __future__ import annotations

import numpy as np
import pytest
from tenfold.runner.verify import Errors, compare_arrays, verify
from tenfold.support.errors import VerificationError

B = np.array([[1.0, -4.0], [0.0, 2.0]], "float32")


def test_equal_arrays_have_no_error():
    assert compare_arrays(B, B) == Errors(0.0, 0.0)
    assert compare_arrays(B[:0], B[:0]) == Errors()


def test_relative_is_over_the_largest_magnitude_of_the_reference():
    a = B.copy()
    a[1, 0] += 0.5
    assert compare_arrays(a, B) == Errors(0.5, 0.125)


def test_against_zeros_any_difference_is_infinite():
    assert compare_arrays(B, np.zeros_like(B)) == Errors(4.0, np.inf)
    assert compare_arrays(np.zeros_like(B), np.zeros_like(B)) == Errors()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_be_so_in_both(special):
    b = B.copy()
    b[0, 0] = special
    assert compare_arrays(b, b) == Errors()
    assert compare_arrays(B, b) == Errors(np.inf, np.inf)
    assert compare_arrays(b, B) == Errors(np.inf, np.inf)
    a = b.copy()
    a[1, 1] += 1
    assert compare_arrays(a, b) == Errors(1.0, 0.25)


def test_opposite_infinities_differ():
    assert compare_arrays(np.array([np.inf]), np.array([-np.inf])) == Errors(np.inf, np.inf)


def test_whole_numbers_are_counted():
    assert compare_arrays(np.array([1, 2, 3, 7]), np.array([1, 2, 3, 4])) == Errors(3.0, 0.25)
    assert compare_arrays(np.array([True, False]), np.array([True, True])) == Errors(1.0, 0.5)


def test_extremes_of_float32_do_not_overflow():
    largest = np.finfo("float32").max
    assert compare_arrays(np.array([-largest]), np.array([largest])).relative == pytest.approx(2.0)


@pytest.mark.parametrize("other", [B[0], B.astype("int32"), B.reshape(4)])
def test_other_shapes_and_kinds_are_no_match(other):
    with pytest.raises(VerificationError, match="reference"):
        compare_arrays(other, B)


def test_verify_takes_the_largest_over_outputs_and_inputs():
    def actual(feeds):
        return [feeds["x"], feeds["x"] + feeds["error"]]

    def expected(feeds):
        return [feeds["x"], feeds["x"]]

    sets = [{"x": B, "error": np.float32(error)} for error in (0.0, 0.25, 0.125)]
    assert verify(actual, expected, sets) == (Errors(0.25, 0.0625), 3)


def test_another_number_of_outputs_is_no_match():
    with pytest.raises(VerificationError, match="1 outputs, the reference 2"):
        verify(lambda feeds: [B], lambda feeds: [B, B], [{}])
