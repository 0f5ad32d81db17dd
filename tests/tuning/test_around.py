"""Points around a point are in the space, and reach what single knobs can't."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tenfold.schedules.space import Knobs, Space
from tenfold.tuning.around import around
from tenfold.tuning.pool import key_of

MULTIPLES = Knobs({"pixels": range(1, 9), "tiles": range(1, 65), "flat": (False, True)},
                  lambda point: point["tiles"] % point["pixels"] == 0)
SPACE = Space({"pixels": 5, "tiles": 25, "flat": False}, (MULTIPLES, Knobs({"word": ("a", "b")})))


@given(st.integers(1, 8), st.integers(1, 8), st.booleans())
def test_they_differ_in_at_most_two_knobs_and_are_in_the_space(pixels, times, flat):
    point = {"pixels": pixels, "tiles": pixels * times, "flat": flat}
    found = list(around(SPACE, point))
    assert all(near in SPACE and 1 <= sum(near[k] != point[k] for k in point) <= 2 for near in found)
    assert {key_of(near) for near in SPACE.neighbours(point)} <= {key_of(near) for near in found}


def test_the_nearest_values_of_the_second_knob_follow_the_first():
    found = [near for near in around(SPACE, SPACE.chosen) if near["pixels"] == 6]
    assert found == [{"pixels": 6, "tiles": 24, "flat": False}]
    assert not [near for near in SPACE.neighbours(SPACE.chosen) if near["pixels"] == 6]


def test_every_point_of_a_space_is_reached():
    seen, waiting = {key_of(SPACE.chosen)}, [SPACE.chosen]
    while waiting:
        for near in around(SPACE, waiting.pop()):
            if key_of(near) not in seen:
                seen.add(key_of(near))
                waiting.append(near)
    assert seen == {key_of(point) for point in MULTIPLES}


def test_a_choice_outside_of_the_knobs_has_no_neighbours():
    assert not list(around(Space({"rows": 99}, (MULTIPLES,)), {"rows": 99}))
    assert list(around(Space({"pixels": 9, "tiles": 9, "flat": False}, (MULTIPLES,)), {"pixels": 9, "tiles": 9, "flat": False}))
