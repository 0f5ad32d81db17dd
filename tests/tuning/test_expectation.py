"""Expected gains: less where trials gained nothing, more where the model is unsure."""
from __future__ import annotations

from math import inf, isfinite

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tenfold.tuning.expectation import FIRST_GAIN, expected_improvement, history_gain, model_gain

LATENCIES = st.lists(st.none() | st.floats(0.01, 100), max_size=40)


@given(LATENCIES)
def test_a_gain_is_a_part_of_the_latency(ms):
    assert 0 < history_gain(ms) < 20


@given(LATENCIES.filter(lambda ms: any(value is not None for value in ms)))
def test_trials_that_gain_nothing_make_it_less(ms):
    worst = max(value for value in ms if value is not None)
    assert history_gain([*ms, worst]) < history_gain(ms)
    assert history_gain([*ms, None]) < history_gain(ms)


def test_the_last_trials_count_most():
    early, late = [10.0, 5.0, *[5.0] * 8], [*[10.0] * 9, 5.0]
    assert history_gain([]) == FIRST_GAIN and history_gain(early) < history_gain(late)


@given(st.floats(-3, 3), st.floats(0, 2))
def test_an_improvement_is_at_least_what_is_certain(mean, spread):
    found = expected_improvement(mean, spread)
    assert isfinite(found) and found >= max(0.0, mean) - 1e-9 and found <= max(0.0, mean) + spread
    assert expected_improvement(mean, spread + 0.1) >= found - 1e-9 and expected_improvement(mean + 0.1, spread) >= found - 1e-9


def test_infinite_means_are_no_gain():
    assert expected_improvement(-inf, 1.0) == 0


def test_better_candidates_gain_more_and_so_does_an_unsure_model():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, 40)
    sure, unsure = np.exp(-scores / 4 + 0.02 * rng.standard_normal(40)), np.exp(-scores / 4 + 0.4 * rng.standard_normal(40))
    best = scores.max()
    assert model_gain(scores, sure, [best - 1]) < 0.01 < model_gain(scores, sure, [best + 0.5]) < model_gain(scores, sure, [best + 1])
    assert model_gain(scores, unsure, [best - 1]) > model_gain(scores, sure, [best - 1])
    assert model_gain(scores, sure, []) == 0 == model_gain([1.0, 2.0], [1.0, 2.0], [3.0])
    assert isfinite(model_gain([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], [1.0]))
