"""The algebra of minimal filtering, against correlation; and its errors against float64, which decide where F(4x4) is used."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.runner.verify import TOLERANCE
from tenfold.schedules.cpu.winograd.cost import ERROR, MOST_ERROR, error_bound
from tenfold.schedules.winograd_algebra import BY_OUTPUTS, F2, F4, WinogradForm

LAVIN = WinogradForm((1.0, 2.0))


@given(points=st.lists(st.integers(1, 24), min_size=1, max_size=3, unique=True), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_equals_correlation_for_any_points(points, seed):
    form = WinogradForm(tuple(p / 8 for p in points))
    rng = np.random.default_rng(seed)
    d, g = rng.standard_normal(form.products), rng.standard_normal(3)
    expected = np.correlate(d, g)
    products = np.array(form.transform_input(list(d))) * (form.weight_matrix() @ g)
    # float64 against what the transforms magnify: points as far apart as 1/8 and 3 lose digits.
    np.testing.assert_allclose(form.transform_output(list(products)), expected, atol=1e-13 * np.abs(products).max() * 30)


def test_matrices_are_those_of_lavin_and_gray():
    """arXiv:1509.09308, section 4.1 for F(2, 3); rows of B^T may change sign together with those of G."""
    identity = list(np.eye(4))
    np.testing.assert_array_equal(np.abs(F2.transform_input(identity)), [[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(np.abs(F2.weight_matrix()), [[1, 0, 0], [.5, .5, .5], [.5, .5, .5], [0, 0, 1]])
    np.testing.assert_array_equal(np.array(LAVIN.transform_output(list(np.eye(6)))),
                                  [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def largest_error(form: WinogradForm, channels: int, seed: int, positive: bool) -> float:
    """Of float32 arithmetic in the order of the kernel, against float64, as a part of the largest output."""
    rng = np.random.default_rng(seed)
    size, tiles, filters = form.products, 32, 16
    x = rng.standard_normal((size, size, tiles, channels), "float32")
    x = np.maximum(x, 0) if positive else x
    weight = rng.standard_normal((filters, channels, 3, 3), "float32")

    def both(transform, values):
        lateral = np.stack(transform(list(values)))
        return np.stack(transform(list(lateral.swapaxes(0, 1)))).swapaxes(0, 1)

    inputs, weights = both(form.transform_input, x), form.transform_weights(weight)
    sums = np.zeros((size, size, tiles, filters), "float32")
    for c in range(channels):
        sums += inputs[..., c, None] * weights[:, :, None, :, c]
    y = both(form.transform_output, sums)
    assert y.dtype == np.float32
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (0, 1))
    exact = np.einsum("ijtckl,fckl->ijtf", windows, weight.astype(np.float64), optimize=True)
    return float(np.abs(y - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize("outputs", BY_OUTPUTS)
@pytest.mark.parametrize("positive", [False, True])
def test_error_stays_within_the_bound(outputs, positive):
    """The bound grows as the square root of the channels, as errors of sums do; it must not be idle either."""
    for channels in (4, 32, 256):
        errors = [largest_error(BY_OUTPUTS[outputs], channels, seed, positive) for seed in range(3)]
        assert 0.3 * error_bound(outputs, channels) < max(errors) < error_bound(outputs, channels)


def test_points_keep_accuracy():
    """Those of F(4, 3) against the usual ones: less than half the error."""
    ours, usual = (np.mean([largest_error(form, 64, seed, False) for seed in range(3)]) for form in (F4, LAVIN))
    assert 2 * ours < usual


def test_bound_is_a_part_of_the_tolerance():
    """Of what a compiled network may be off in all."""
    assert MOST_ERROR <= TOLERANCE / 4
    assert ERROR[2] < ERROR[4]
