"""Spaces of kernels: what is in them, in which order, and what is said of what is not."""
from __future__ import annotations

import pytest
from tenfold.schedules.space import Knobs, Space, number
from tenfold.support.errors import TenfoldError

TILES = Knobs({"rows": (1, 2, 4), "columns": (1, 2), "flat": (False, True)}, lambda point: point["rows"] * point["columns"] <= 4)
WAYS = Knobs({"algorithm": ("direct", "winograd")})
SPACE = Space({"rows": 2, "columns": 2, "flat": False}, (TILES, WAYS))


def test_a_point_needs_all_knobs_their_values_and_to_be_allowed():
    assert {"rows": 4, "columns": 1, "flat": True} in TILES
    assert {"rows": 4, "columns": 2, "flat": True} not in TILES  # not allowed together
    assert {"rows": 3, "columns": 1, "flat": True} not in TILES  # no such value
    assert {"rows": 4, "columns": 1} not in TILES
    assert {"rows": 4, "columns": 1, "flat": True, "more": 1} not in TILES


def test_knobs_go_through_what_is_allowed_the_last_one_fastest():
    points = list(TILES)
    assert points[:3] == [{"rows": 1, "columns": 1, "flat": False}, {"rows": 1, "columns": 1, "flat": True},
                          {"rows": 1, "columns": 2, "flat": False}]
    assert len(points) == 10 and all(point in TILES for point in points)
    assert list(Knobs({"a": (1, 2)})) == [{"a": 1}, {"a": 2}]


def test_the_choice_of_the_model_comes_first_and_once():
    points = list(SPACE)
    assert points[0] == SPACE.chosen and points.count(SPACE.chosen) == 1
    assert len(points) == 12 and points[-1] == {"algorithm": "winograd"}


def test_the_choice_of_the_model_belongs_to_the_space_whatever_its_knobs():
    space = Space({"rows": 99}, (TILES,))
    assert {"rows": 99} in space and {"rows": 1, "columns": 1, "flat": True} in space and {"rows": 98} not in space


def test_neighbours_differ_in_one_knob():
    found = list(SPACE.neighbours({"rows": 2, "columns": 2, "flat": False}))
    assert found == [{"rows": 1, "columns": 2, "flat": False}, {"rows": 2, "columns": 1, "flat": False},
                     {"rows": 2, "columns": 2, "flat": True}]  # 4 x 2 is not allowed
    assert list(SPACE.neighbours({"algorithm": "direct"})) == [{"algorithm": "winograd"}]
    assert not list(SPACE.neighbours({"other": 1}))


def test_lists_of_json_are_tuples():
    space = Space({"stage": (1, 2)}, (Knobs({"stage": ((1, 2), (3, 4))}),))
    assert space.check({"stage": [3, 4]}, "chain") == {"stage": (3, 4)}


@pytest.mark.parametrize(("point", "words"), [
    ({"speed": 1}, "the choice for conv2d has the knobs speed: this kernel has rows, columns, flat or algorithm"),
    ({"rows": 3, "columns": 1, "flat": True}, "the choice for conv2d can't be built on this target: rows can't be 3"),
    ({"rows": 4, "columns": 2, "flat": True}, "the choice for conv2d can't be built on this target: these values can't be combined"),
])  # fmt: skip
def test_what_is_not_in_the_space_is_told(point, words):
    with pytest.raises(TenfoldError) as caught:
        SPACE.check(point, "conv2d")
    assert str(caught.value) == words


def test_a_number_or_a_switch():
    assert number({"rows": 3}, "rows") == 3 and number({"flat": True}, "flat") == 1
    with pytest.raises(AssertionError, match="rows is '3'"):
        number({"rows": "3"}, "rows")
