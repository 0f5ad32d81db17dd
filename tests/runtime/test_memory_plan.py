"""Places in the arena: what lives at the same time never shares a byte, and nothing is wasted where nothing need be."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.runtime.memory_plan import ALIGNMENT, arena_bytes, plan_places


@st.composite
def lives(draw):
    begin = draw(st.integers(0, 12))
    return (begin, begin + draw(st.integers(0, 5)))


SIZES = st.tuples(st.sampled_from(["float32", "int64", "bool"]), st.lists(st.integers(0, 40), max_size=3))


@given(tensors=st.lists(st.tuples(SIZES, lives()), max_size=14))
@settings(deadline=None)
def test_tensors_alive_together_lie_apart(tensors):
    sizes = [(dtype, tuple(shape)) for (dtype, shape), _ in tensors]
    lifetimes = [life for _, life in tensors]
    places = plan_places(sizes, lifetimes)
    assert [(place.dtype, place.shape) for place in places] == sizes
    for place, life in zip(places, lifetimes, strict=True):
        assert place.offset % ALIGNMENT == 0
        for other, other_life in zip(places, lifetimes, strict=True):
            if other is not place and life[0] <= other_life[1] and other_life[0] <= life[1] and place.end > place.offset:
                assert place.end <= other.offset or other.end <= place.offset or other.end == other.offset
    assert arena_bytes(places) <= sum(-(-(place.end - place.offset) // ALIGNMENT) * ALIGNMENT for place in places)


def test_a_chain_of_layers_takes_what_its_largest_neighbours_take():
    sizes = [("float32", (n * 16,)) for n in (1, 6, 2, 5, 3)]
    places = plan_places(sizes, [(i, i + 1) for i in range(5)])
    assert arena_bytes(places) == 64 * (6 + 2)


def test_no_tensors():
    assert plan_places([], []) == () and arena_bytes(()) == 0
