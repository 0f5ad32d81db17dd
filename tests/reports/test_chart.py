"""Axes: ticks are round, and stand where values do."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tenfold.reports.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, x_axis, y_axis
from tenfold.reports.curves import spectra


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
@example(5e-324, 5e-324)
def test_ticks_lie_on_the_axis(first, second):
    axis = x_axis(min(first, second), max(first, second))
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 12 and len({tick.label for tick in ticks}) == len(ticks)
    assert all(LEFT <= tick.at <= WIDTH - RIGHT for tick in ticks)
    for tick in ticks:
        assert axis.at(float(tick.label)) == pytest.approx(tick.at, abs=0.11)


def test_axes_begin_at_the_corner():
    x, y = x_axis(0, 10), y_axis(0, 1)
    assert (x.at(0), y.at(0)) == (LEFT, HEIGHT - BOTTOM) and (x.at(10), y.at(1)) == (WIDTH - RIGHT, TOP)
    assert [tick.label for tick in x.ticks()] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.label for tick in y.ticks()] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


def test_values_beyond_the_ends_stay_in_the_picture():
    assert x_axis(0, 10).at(-5) == LEFT and x_axis(0, 10).at(1e30) == WIDTH - RIGHT


def test_a_rank_between_kept_values_lies_on_the_line():
    spectrum = {"ranks": [1, 5, 9], "values": [1.0, 0.5, 0.1]}
    chart = spectra({"svd": spectrum}, [7])
    assert chart.marks[0].y == y_axis(0, 1).at(0.3) and "0.3" in chart.marks[0].words
    assert spectra({}, [7]) is None and not spectra({"svd": spectrum}, []).marks
