"""Tightening, with a fake network whose true loss is not the predicted one."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.search.bounded_search import MAX_CHECKS, MAX_STEP, loosest, within

LOSSES = [0.0] + [0.001 * 1.15**i for i in range(80)]  # of choices 0, 1, ...: each further one is faster


def pick(limits):
    fitting = [i for i, loss in enumerate(LOSSES) if loss <= limits["loss"] and 100 - i <= limits.get("ms", 200)]
    return (max(fitting),) if fitting else None


@pytest.mark.parametrize("wrong", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_a_start_that_is_nearly_right_needs_few_tries(wrong):
    truth = 3.0
    found = loosest(pick, lambda choice: truth * LOSSES[choice[0]] <= 1.0, wrong / truth, {}, step=1.15)
    last = max(i for i, loss in enumerate(LOSSES) if truth * loss <= 1.0)
    assert found.best[0] >= last - 1 and len(found.tried) <= 4


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 30), st.floats(1 / 16, 16))
def test_the_loosest_choice_that_holds(truth, factor):
    """A prediction that is wrong by up to 16 times: the result holds, and the choice after it does not (within one step of the search)."""
    asked, start = [], factor / truth

    def check(choice):
        asked.append(choice)
        return truth * LOSSES[choice[0]] <= 1.0

    found = loosest(pick, check, start, {})
    last = max(i for i, loss in enumerate(LOSSES) if truth * loss <= 1.0)
    assert found.best is not None and truth * LOSSES[found.best[0]] <= 1.0
    assert found.best[0] >= last - 1
    assert len(asked) == len(set(asked)) <= MAX_CHECKS


def test_nothing_holds_but_doing_nothing():
    found = loosest(pick, lambda choice: choice == (0,), 0.05, {})
    assert found.best in (None, (0,)) and (0,) in found.tried


def test_everything_holds():
    assert loosest(pick, lambda choice: True, 0.05, {}).best == (80,)


def test_other_limits_are_kept():
    asked = []
    found = loosest(pick, lambda choice: asked.append(choice) or LOSSES[choice[0]] < 3, 0.002, {"ms": 60})
    assert found.best is not None and all(100 - choice[0] <= 60 for choice in asked)
    assert loosest(pick, lambda choice: True, 1, {"ms": 1}).best is None


def test_a_prediction_that_is_too_good_is_tightened():
    def choose(limits):
        return (int(limits["ms"]),) if limits["ms"] >= 1 else None

    found = within(choose, lambda choice: {"ms": choice[0]}, lambda choice: {"ms": choice[0] * 1.3 + 2}, {"ms": 50.0})
    assert found.best is not None and 40 < found.best[0] * 1.3 + 2 <= 50
    assert [held for held in found.tried.values()].count(True) == 1


def test_a_choice_a_little_above_is_not_picked_again():
    """Predicted well within the limit, and just above it in truth: tightening by the excess would never reach the next one."""
    sizes = [90.0, 40.0]

    def choose(limits):
        return next(((i,) for i, size in enumerate(sizes) if size <= limits["bytes"]), None)

    found = within(choose, lambda choice: {"bytes": sizes[choice[0]]}, lambda choice: {"bytes": sizes[choice[0]] + 10.1}, {"bytes": 100.0})
    assert found.best == (1,) and found.tried == {(0,): False, (1,): True}


def test_what_can_not_be_kept():
    assert within(lambda limits: None, lambda choice: {}, lambda choice: {}, {"ms": 1.0}).best is None
    found = within(lambda limits: (1,) if limits["ms"] > 0 else None, lambda choice: {"ms": 0.5}, lambda choice: {"ms": 9.0}, {"ms": 1.0})
    assert found.best is None and found.tried == {(1,): False}


@pytest.mark.parametrize("interrupt_at", [1, 3])
def test_an_interrupt_comes_through(interrupt_at):
    calls = []

    def check(choice):
        calls.append(choice)
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        loosest(pick, check, 0.01, {})


@pytest.mark.parametrize("holds", [False, True])
def test_a_choice_that_does_not_change_is_not_asked_for_for_ever(holds):
    """Its limits go down, or up, by 4 to the power of 20, and no further."""
    asked = []

    def pick(limits):
        asked.append(limits["loss"])
        return (1,)

    found = loosest(pick, lambda choice: holds, 1.0, {})
    assert found.tried == {(1,): holds} and found.best == ((1,) if holds else None)
    assert len(asked) == 22 - holds and max(asked[-1], 1 / asked[-1]) == MAX_STEP ** (len(asked) - 1)
