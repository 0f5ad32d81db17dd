"""Budgets: what they ask for, and what is refused."""
from __future__ import annotations

import pytest
from tenfold.search.budget import Budget
from tenfold.support.errors import TenfoldError


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({}, "no budget"),
        ({"max_drop": 0}, "--max-drop 0"),
        ({"max_drop": -1.0}, "--max-drop -1"),
        ({"max_drop": 100.0}, "100"),
        ({"max_drop": float("nan")}, "--max-drop nan"),
        ({"speedup": 1.0}, "--speedup 1 .*dense"),
        ({"latency": -0.5}, "--latency -0.5"),
        ({"size": 0.0, "max_drop": 1.0}, "--size 0"),
        ({"latency": float("inf")}, "--latency inf"),
    ],
)
def test_a_bound_that_makes_no_sense(bounds, words):
    with pytest.raises(TenfoldError, match=words):
        Budget(**bounds)


def test_what_is_wanted_within_it():
    assert Budget(max_drop=1).minimise == Budget(max_drop=1, size=2).minimise == "ms"
    assert Budget(size=2).minimise == Budget(speedup=3).minimise == Budget(max_drop=1, latency=2).minimise == "loss"


def test_the_tighter_bound_on_time_counts():
    assert Budget(max_drop=1).most_ms(8) is None
    assert Budget(speedup=4, latency=3).most_ms(8) == 2
    assert Budget(speedup=4, latency=1).most_ms(8) == 1
    assert Budget(size=2.5).most_bytes == 2_500_000


def test_in_words():
    assert str(Budget(max_drop=1, speedup=2.5)) == "1 points lost, 2.5 times faster"
