"""The exact choice, against trying everything."""
from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.search.knapsack import Item, Link, choose, total

numbers = st.floats(0.001, 10)
items = st.builds(Item, numbers, st.one_of(st.just(0.0), numbers), numbers)
problems = st.lists(st.lists(items, min_size=1, max_size=4), min_size=1, max_size=4)
limits = st.dictionaries(st.sampled_from(["ms", "loss", "bytes"]), st.floats(0.0, 30), max_size=2)


def best(groups, minimise, limits):
    sums = (total(groups, chosen) for chosen in product(*(range(len(group)) for group in groups)))
    fitting = [s for s in sums if all(getattr(s, name) <= limit for name, limit in limits.items())]
    return min((getattr(s, minimise) for s in fitting), default=None)


@settings(max_examples=150, deadline=None)
@given(problems, st.sampled_from(["ms", "loss"]), limits)
def test_the_choice_is_the_best_there_is(groups, minimise, limits):
    chosen = choose(groups, minimise, limits)
    expected = best(groups, minimise, limits)
    if chosen is None:
        # Only at the edge of feasibility may rounding decide.
        assert expected is None or best(groups, minimise, {name: limit * (1 - 1e-6) - 1e-6 for name, limit in limits.items()}) is None
        return
    sums = total(groups, chosen)
    for name, limit in limits.items():
        assert getattr(sums, name) <= limit * (1 + 1e-6) + 1e-6
    loosened = best(groups, minimise, {name: limit * (1 + 1e-6) + 1e-6 for name, limit in limits.items()})
    assert getattr(sums, minimise) >= loosened - 1e-9
    if expected is not None:
        assert getattr(sums, minimise) <= expected * (1 + 1e-5) + 1e-5


def test_ties_go_to_the_smaller_loss_and_to_less_time():
    assert choose([[Item(1, 3), Item(1, 2), Item(2, 1)]], "ms", {}) == [1]
    assert choose([[Item(3, 1), Item(2, 1), Item(1, 2)]], "loss", {}) == [1]


def test_small_losses_are_told_apart():
    """Limits as small as 1e-7 are not lost in the solver's tolerance."""
    groups = [[Item(2, 0.0), Item(1, 2e-7)], [Item(2, 0.0), Item(1, 2e-7)]]
    assert choose(groups, "ms", {"loss": 1e-7}) == [0, 0]
    assert sorted(choose(groups, "ms", {"loss": 3e-7})) == [0, 1]
    assert choose(groups, "ms", {"loss": 4e-7}) == [1, 1]


def test_nothing_fits():
    assert choose([[Item(2, 1)], [Item(2, 1)]], "loss", {"ms": 3.9}) is None


def test_no_groups():
    assert choose([], "ms", {"loss": 1}) == []


@pytest.mark.parametrize("layers", [40])
def test_a_deep_network_is_solved(layers):
    groups = [[Item(1 + i / (k + 1), k * (i % 7 + 1)) for k in range(20)] for i in range(layers)]
    chosen = choose(groups, "ms", {"loss": 300})
    assert total(groups, chosen).loss <= 300 + 1e-6


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_conversions_between_neighbours_are_counted(data):
    """Against trying everything: a chain of layers, each in float32 or on bytes, and one that reads two of them."""
    marked = st.builds(Item, numbers, numbers, numbers, st.booleans())
    groups = data.draw(st.lists(st.lists(marked, min_size=1, max_size=3), min_size=3, max_size=4))
    pairs = [*((i, i + 1) for i in range(len(groups) - 1)), (0, 2)]
    links = [Link(*pair, data.draw(numbers), data.draw(numbers)) for pair in pairs]
    for minimise, bounds in (("ms", {"loss": 15.0}), ("loss", {"ms": 25.0})):
        every = [total(groups, chosen, links) for chosen in product(*(range(len(group)) for group in groups))]
        fitting = [getattr(s, minimise) for s in every if all(getattr(s, name) <= limit - 1e-4 for name, limit in bounds.items())]
        chosen = choose(groups, minimise, bounds, links)
        if chosen is None:
            assert not fitting
            continue
        sums = total(groups, chosen, links)
        assert all(getattr(sums, name) <= limit + 1e-4 for name, limit in bounds.items())
        assert not fitting or getattr(sums, minimise) <= min(fitting) * (1 + 1e-5) + 1e-5


def test_a_layer_alone_on_bytes_pays_for_both_conversions():
    groups = [[Item(2, 0), Item(1, 0, on_bytes=True)] for _ in range(3)]
    links = [Link(0, 1, 0.6, 0.6), Link(1, 2, 0.6, 0.6)]
    first = [(0, 1), (2, 1)]  # the outer two have to stay in float32
    assert choose(groups, "ms", {}, links) == [1, 1, 1]
    assert choose(groups, "ms", {}, links, first) == [0, 0, 0]
    assert choose(groups, "ms", {}, [Link(0, 1, 0.4, 0.6), Link(1, 2, 0.6, 0.4)], first) == [0, 1, 0]
    assert total(groups, [0, 1, 0], links).ms == pytest.approx(2 + 1 + 2 + 1.2)
