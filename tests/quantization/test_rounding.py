"""Weights: their steps, and rounding them so that the output of the layer changes little."""
import numpy as np
import pytest
from tenfold.quantization import round_nearest, round_with_feedback, rounding_error, weight_scales
from tenfold.quantization import rounding as rounding_module

LARGEST = 127


def weights(seed: int = 0, rows: int = 6, width: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, width)) * np.exp(rng.normal(0, 1, (rows, 1)))


def correlated(seed: int = 0, width: int = 40, rank: int = 12) -> np.ndarray:
    """Inputs of a layer that move together, as those of neighbouring pixels do."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2000, rank)) @ rng.standard_normal((rank, width)) + 0.1 * rng.standard_normal((2000, width))


@pytest.mark.parametrize("clip", [False, True])
def test_steps_are_symmetric_and_each_row_has_its_own(clip):
    rows = weights()
    scales = weight_scales(rows, clip=clip)
    assert scales.dtype == np.float32 and scales.shape == (6,)
    lost = np.square(round_nearest(rows, scales) * scales[:, None].astype(float) - rows).sum(axis=1)
    plain = np.float32(np.abs(rows).max(axis=1) / LARGEST)
    if not clip:
        np.testing.assert_array_equal(scales, plain)
        assert (np.abs(round_nearest(rows, scales)).max(axis=1) == LARGEST).all()
    best = [min(np.square(np.clip(np.rint(row / s), -LARGEST, LARGEST) * s - row).sum() for s in step * np.linspace(0.5, 1, 51))
            for row, step in zip(rows, plain.astype(float), strict=True)]
    if clip:
        np.testing.assert_allclose(lost, best, rtol=1e-3)


def test_one_step_for_all_and_rows_of_zeros():
    rows = weights()
    rows[2] = 0
    assert 0 < weight_scales(rows)[2] < 1e-5 and (round_nearest(rows, weight_scales(rows))[2] == 0).all()
    np.testing.assert_array_equal(weight_scales(rows, per_channel=False), np.full(6, np.float32(np.abs(rows).max() / LARGEST)))
    assert (round_nearest(0 * rows, weight_scales(0 * rows)) == 0).all()


def test_clipping_pays_where_there_are_outliers():
    rows = np.concatenate([np.random.default_rng(0).uniform(-1, 1, (1, 200_000)), [[4.0]]], axis=1)
    assert weight_scales(rows, clip=True)[0] < 0.9 * weight_scales(rows)[0]


def test_the_error_is_that_of_the_outputs():
    rows, x = weights(), correlated()
    scales = weight_scales(rows)
    rounded = round_nearest(rows, scales)
    expected = np.square(x @ (rounded * scales[:, None].astype(float) - rows).T).mean(axis=0)
    np.testing.assert_allclose(rounding_error(rows, scales, rounded, x.T @ x / len(x)), expected, rtol=1e-9)


@pytest.mark.parametrize("step", [1, 16])
def test_feedback_makes_outputs_better_and_no_row_worse(step, monkeypatch):
    """Also in coarse steps, and in blocks that do not divide the width."""
    monkeypatch.setattr(rounding_module, "BLOCK", 7)
    rows, x = weights(), correlated()
    moment, scales = x.T @ x / len(x), weight_scales(rows) * step
    nearest, found = round_nearest(rows, scales), round_with_feedback(rows, scales, moment)
    before, after = rounding_error(rows, scales, nearest, moment), rounding_error(rows, scales, found, moment)
    assert (after <= before).all() and after.sum() < 0.5 * before.sum()
    assert found.dtype == np.int8 and np.abs(found.astype(int)).max() <= LARGEST


def test_the_size_of_blocks_does_not_matter(monkeypatch):
    rows, x = weights(), correlated()
    results = []
    for block in (1, 9, 128):
        monkeypatch.setattr(rounding_module, "BLOCK", block)
        results.append(round_with_feedback(rows, weight_scales(rows), x.T @ x / len(x)))
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


def test_two_weights_are_rounded_as_one_would_by_hand():
    """The first to the nearest; then the second makes up for it: w2 - m12 / m22 of what the first lost."""
    rows, scales = np.array([[2.4, 3.3]]), np.float32([1.0])
    moment = np.array([[1.0, 0.9], [0.9, 0.99]])
    found = round_with_feedback(rows, scales, moment)
    after = 3.3 + 0.9 / 0.99 * 0.4
    assert found.tolist() == [[2, round(after)]] == [[2, 4]]
    errors = {second: rounding_error(rows, scales, np.array([[2, second]]), moment)[0] for second in (3, 4)}
    assert errors[4] == pytest.approx(0.16 - 2 * 0.9 * 0.4 * 0.7 + 0.99 * 0.49) and errors[4] < errors[3]


def test_where_inputs_are_independent_or_unknown_it_rounds_to_the_nearest():
    rows = weights()
    scales = weight_scales(rows)
    for moment in (np.eye(40), np.diag(np.linspace(1, 9, 40)), np.zeros((40, 40))):
        np.testing.assert_array_equal(round_with_feedback(rows, scales, moment), round_nearest(rows, scales))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(round_with_feedback(rows, scales, np.full((40, 40), np.nan)), round_nearest(rows, scales))
