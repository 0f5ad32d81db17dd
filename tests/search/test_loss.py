"""Curves of loss over error."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.search.loss import Curve, points_per_loss


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
