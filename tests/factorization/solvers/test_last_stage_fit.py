"""The last stage, solved again from what flows through it."""
from __future__ import annotations

import numpy as np
import pytest
from factor_reference import PROPERTY
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization.solvers.last_stage_fit import LastStageSamples, _relax, fit_last_stage, stage_output


def problem(rng, groups=1, outputs=3, inputs=2, kernel=(3, 1), rows=400):
    """Features with means, a stage (groups x outputs of groups x inputs), and what it answers."""
    width = inputs * kernel[0] * kernel[1]
    features = (rng.standard_normal((rows, groups * width)) + rng.standard_normal(groups * width)).astype(np.float32)
    weight, bias = rng.standard_normal((groups * outputs, inputs, *kernel)), rng.standard_normal(groups * outputs)
    return features, weight, bias


def stage_by_definition(weight, bias, groups, features):
    blocks, rows = np.split(features.astype(np.float64), groups, axis=1), np.split(weight.reshape(len(weight), -1), groups)
    return np.concatenate([block @ row.T for block, row in zip(blocks, rows, strict=True)], axis=1) + bias


@PROPERTY
@given(seed=st.integers(0, 999), groups=st.integers(1, 3))
def test_response_is_what_the_stage_computes(seed, groups):
    features, weight, _ = problem(np.random.default_rng(seed), groups)
    expected = stage_by_definition(weight, 0, groups, features)
    np.testing.assert_allclose(stage_output(weight, groups, features), expected, rtol=1e-4, atol=1e-4)


@PROPERTY
@given(seed=st.integers(0, 999), groups=st.integers(1, 3))
def test_a_stage_that_answers_exactly_is_found(seed, groups):
    rng = np.random.default_rng(seed)
    features, weight, bias = problem(rng, groups)
    targets = stage_by_definition(weight, bias, groups, features).astype(np.float32)
    found, offset = fit_last_stage(rng.standard_normal(weight.shape), np.zeros(len(bias)), groups, LastStageSamples(features, targets))
    np.testing.assert_allclose(stage_by_definition(found, offset, groups, features), targets, atol=2e-2 * np.abs(targets).max())


@PROPERTY
@given(seed=st.integers(0, 999))
def test_linear_least_squares_as_numpy_has_it(seed):
    rng = np.random.default_rng(seed)
    features, weight, _ = problem(rng)
    targets = rng.standard_normal((len(features), len(weight))).astype(np.float32)
    found, offset = fit_last_stage(np.zeros(weight.shape), np.zeros(len(weight)), 1, LastStageSamples(features, targets))
    design = np.column_stack([features, np.ones(len(features))]).astype(np.float64)
    best = np.linalg.lstsq(design, targets, rcond=None)[0]
    np.testing.assert_allclose(np.column_stack([found.reshape(len(found), -1), offset]), best.T, atol=1e-3)


@PROPERTY
@given(seed=st.integers(0, 999), groups=st.integers(1, 2))
def test_behind_a_relu_only_what_it_lets_through_counts(seed, groups):
    """Never worse than the linear solution, nor than the stage as it was, where the ReLU sees it."""
    rng = np.random.default_rng(seed)
    features, weight, bias = problem(rng, groups)
    targets = rng.standard_normal((len(features), len(weight))).astype(np.float32) + stage_by_definition(weight, bias, groups, features)
    data = LastStageSamples(features, targets.astype(np.float32))

    def loss(weight, bias):
        return np.square(np.maximum(targets, 0) - np.maximum(stage_by_definition(weight, bias, groups, features), 0)).sum()

    found = loss(*fit_last_stage(weight, bias, groups, data, rectified=True))
    assert found <= loss(*fit_last_stage(weight, bias, groups, data)) * (1 + 1e-4)
    assert found <= loss(weight, bias) * (1 + 1e-4)


@PROPERTY
@given(seed=st.integers(0, 999), groups=st.integers(1, 2), window=st.integers(1, 4))
def test_behind_a_pooling_only_the_largest_of_a_window_counts(seed, groups, window):
    """Never worse than the stage as it was, nor than the linear solution, where the pooling sees it."""
    rng = np.random.default_rng(seed)
    features, weight, bias = problem(rng, groups, rows=120 * window)
    targets = rng.standard_normal((len(features), len(weight))) + stage_by_definition(weight, bias, groups, features)
    data = LastStageSamples(features, targets.astype(np.float32), window)

    def loss(weight, bias):
        seen = [np.maximum(y.reshape(-1, window, len(weight)).max(axis=1), 0)
                for y in (targets, stage_by_definition(weight, bias, groups, features))]
        return np.square(seen[0] - seen[1]).sum()

    found = loss(*fit_last_stage(weight, bias, groups, data, rectified=True))
    assert found <= loss(*fit_last_stage(weight, bias, groups, data)) * (1 + 1e-4)
    assert found <= loss(weight, bias) * (1 + 1e-4)


@PROPERTY
@given(seed=st.integers(0, 999), window=st.integers(1, 4), penalty=st.sampled_from([0.01, 0.3, 1.0]))
def test_the_auxiliary_variables_are_the_best_of_the_cases_that_there_are(seed, window, penalty):
    """Of the largest of a window by trying both cases, below zero and above; the others are only brought down."""
    rng = np.random.default_rng(seed)
    prediction = rng.standard_normal((40, window, 3)).astype(np.float32)
    wanted = np.maximum(rng.standard_normal((40, 3)), 0).astype(np.float32)
    z = prediction.copy()
    top = _relax(z.reshape(-1, 3), wanted, penalty, window)
    np.testing.assert_array_equal(top, prediction.max(axis=1))
    largest = prediction.argmax(axis=1)[:, None]

    def cost(value):
        return (wanted - np.maximum(value, 0)) ** 2 + penalty * (value - top) ** 2

    cases = np.minimum(top, 0), np.maximum((penalty * top + wanted) / (penalty + 1), 0)
    best = np.where(cost(cases[0]) < cost(cases[1]), *cases)
    np.testing.assert_allclose(cost(np.take_along_axis(z, largest, axis=1)[:, 0]), cost(best), atol=1e-5)
    others = np.where(prediction > wanted[:, None], (penalty * prediction + wanted[:, None]) / (penalty + 1), prediction)
    np.put_along_axis(others, largest, np.take_along_axis(z, largest, axis=1), axis=1)
    np.testing.assert_allclose(z, others, atol=1e-5)


def test_what_a_pooling_hides_costs_nothing():
    """Targets that are wrong only where another pixel of the window is larger: a pooling does not see it, the stage is nearer to right."""
    rng = np.random.default_rng(0)
    features, weight, bias = problem(rng, rows=2000)
    targets = stage_by_definition(weight, bias, 1, features).reshape(-1, 4, len(weight))
    hidden = targets < targets.max(axis=1, keepdims=True)
    wrong = np.where(hidden, targets - 3 * rng.random(targets.shape), targets).reshape(-1, len(weight)).astype(np.float32)
    start = fit_last_stage(weight, bias, 1, LastStageSamples(features, wrong))
    pooled, plain = (fit_last_stage(*start, 1, LastStageSamples(features, wrong, window), rectified=True) for window in (4, 1))

    def loss(weight, bias):
        found = stage_by_definition(weight, bias, 1, features).reshape(targets.shape)
        return np.square(np.maximum(targets.max(axis=1), 0) - np.maximum(found.max(axis=1), 0)).mean()

    assert loss(*pooled) < 0.5 * loss(*plain)


def test_what_the_data_does_not_show_stays():
    """A feature that is always zero has the weight that it had."""
    features, weight, bias = problem(np.random.default_rng(0))
    features[:, 1] = 0
    targets = stage_by_definition(weight, bias, 1, features).astype(np.float32)
    start = np.full(weight.shape, 0.25)
    found, _ = fit_last_stage(start, bias, 1, LastStageSamples(features, targets))
    assert found.reshape(len(found), -1)[:, 1] == pytest.approx(0.25)
