"""Curves of loss over error."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.search.accuracy_model import LINEAR_POINTS, MIN_PLANS, Curve, Trend, layer_factors, points_per_loss
from tenfold.search.calibration.evaluation import Verdict


@given(st.floats(0.01, 100), st.floats(1.2, 3.5), st.lists(st.floats(0.01, 0.9), min_size=3, max_size=8, unique=True))
def test_a_power_law_is_found_again(factor, power, errors):
    if np.ptp(np.log(errors)) < 0.1 or factor * min(errors) ** power < 1e-7:
        return
    curve = Curve.fit((e, factor * e**power) for e in errors)
    assert curve.power == pytest.approx(power, rel=1e-4)
    assert curve(0.5) == pytest.approx(factor * 0.5**power, rel=1e-3)


def test_one_point_is_continued_as_a_square():
    curve = Curve.fit([(0.2, 0.1)])
    assert curve(0.4) == pytest.approx(0.4) and curve(0.2) == pytest.approx(0.1)


def test_noise_can_not_turn_the_curve_round():
    assert Curve.fit([(0.1, 0.5), (0.11, 0.1)]).power == 1.0
    with pytest.raises(ValueError):
        Curve.fit([])


def test_points_per_loss():
    assert points_per_loss([0.1, 0.2], [3.0, 6.0]) == pytest.approx(30)
    assert points_per_loss([0.1], [-2.0]) == 1.0


def verdict(kl, drop, uncertainty=0.2, kl_uncertainty=0.0):
    return Verdict(0.9, 0.95, kl, drop, uncertainty, kl_uncertainty)


@given(st.floats(1, 100), st.lists(st.floats(0.001, 0.09), min_size=MIN_PLANS, max_size=8), st.floats(0.01, 1))
def test_plans_on_a_line_give_it_back(slope, divergences, uncertainty):
    trend = Trend.fit(verdict(kl, slope * kl, uncertainty) for kl in divergences)
    estimates = [trend(verdict(kl, 0.0)) for kl in divergences]
    assert trend.slope == pytest.approx(slope) and trend.plans == len(divergences)
    assert [e.drop for e in estimates] == pytest.approx([slope * kl for kl in divergences])
    # As if the plan that loses most were all that is known: others were judged on the same images.
    assert uncertainty / max(divergences) <= trend.uncertainty * (1 + 1e-9)
    assert trend.uncertainty <= uncertainty / min(divergences) * (1 + 1e-9)


def test_what_lies_off_the_line_makes_it_uncertain():
    near = Trend.fit([verdict(0.02, 0.7), verdict(0.04, 1.4), verdict(0.08, 2.8)])
    far = Trend.fit([verdict(0.02, 0.0), verdict(0.04, 3.0), verdict(0.08, 2.8)])
    assert far.uncertainty > 3 * near.uncertainty


def test_a_divergence_that_is_known_badly_makes_the_estimate_uncertain():
    trend = Trend.fit([verdict(0.02, 0.7), verdict(0.04, 1.4), verdict(0.08, 2.8)])
    assert trend(verdict(0.02, 0.0)).uncertainty == pytest.approx(0.02 * trend.uncertainty)
    assert trend(verdict(0.02, 0.0, kl_uncertainty=0.01)).uncertainty == pytest.approx(np.hypot(0.02 * trend.uncertainty, 0.35))


def test_few_plans_and_plans_that_lose_too_much_give_no_line():
    assert Trend.fit([verdict(0.02, 0.7), verdict(0.04, 1.4)]) is None
    assert Trend.fit([verdict(0.02, 0.7), verdict(0.04, 1.4), verdict(1.0, LINEAR_POINTS + 1)]) is None
    assert Trend.fit([verdict(0.0, 0.0)] * 5) is None
    assert Trend.fit([verdict(kl, -0.1) for kl in (0.001, 0.002, 0.003)]) is None  # luck is not to be continued


def test_the_errors_that_are_told_are_those_that_are_made():
    """Plans lose what their divergence says; labels of 5,000 images say it with errors that plans share in part."""
    rng, slope, divergences = np.random.default_rng(0), 35.0, np.array([0.02, 0.06, 0.12, 0.24])
    errors, told = [], []
    for _ in range(300):
        noise = np.sqrt(divergences) * (0.8 * rng.standard_normal() + 0.6 * rng.standard_normal(4))
        trend = Trend.fit(verdict(kl, slope * kl + e, np.sqrt(kl)) for kl, e in zip(divergences, noise, strict=True))
        errors.append(trend.slope - slope)
        told.append(trend.uncertainty)
    assert 0.6 * np.mean(told) < np.std(errors) < 1.1 * np.mean(told)


@given(st.floats(0.2, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_factor_that_all_layers_share_is_found_exactly(factor, plans, layers, seed):
    predicted = np.random.default_rng(seed).uniform(0.01, 1, (plans, layers))
    assert layer_factors(predicted, factor * predicted.sum(axis=1)) == pytest.approx(np.full(layers, factor))


@given(st.integers(0, 2**32 - 1))
def test_factors_foretell_plans_better_than_what_was_predicted(seed):
    """Layers whose losses are off by a third either way: plans that were not among those that the factors come from."""
    rng = np.random.default_rng(seed)
    truth, predicted = rng.uniform(0.7, 1.4, 4), rng.uniform(0.05, 1, (30, 4))
    actual = predicted @ truth
    factors = layer_factors(predicted[:10], actual[:10])
    shared = np.exp(np.log(actual[:10] / predicted[:10].sum(axis=1)).mean())
    estimates = predicted @ factors, shared * predicted.sum(axis=1)
    corrected, before = (np.abs(np.log(estimate / actual)[10:]).mean() for estimate in estimates)
    assert (factors > 0).all() and corrected < before


def test_nothing_known_leaves_losses_as_they_are():
    assert layer_factors(np.empty((0, 3)), []).tolist() == [1, 1, 1]
