"""Proposals: always in the space, never twice, the same for the same seed, until there are none."""
from __future__ import annotations

import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve_cpu
from tenfold.tuning.pool import key_of
from tenfold.tuning.propose import Proposer

sys.path.append(str(Path(__file__).parent))

from fake_kernel import Fake, knobs
from tenfold.schedules.space import Knobs

TARGET = resolve_cpu("zen3")


SPACES = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=2, unique_by=len)


def everything(proposer, kernel, batch, measure):
    """All proposals, each measured."""
    found = []
    while batch_ := proposer.propose(batch):
        assert len(batch_) <= batch
        for point in batch_:
            proposer.learn(point, measure(point))
        found += batch_
    return found


@settings(max_examples=25, deadline=None)
@given(SPACES, st.integers(3, 9), st.integers(0, 3), st.booleans())
def test_every_point_but_the_first_is_proposed_once(sizes, batch, seed, failing):
    kernel = Fake([knobs(each) for each in sizes])
    proposer = Proposer(kernel, TARGET, seed=seed)
    found = everything(proposer, kernel, batch, lambda point: None if failing and sum(point.values()) % 2 else 1.0 + sum(point.values()))
    keys = [key_of(point) for point in found]
    assert len(set(keys)) == len(keys)
    assert {*keys, key_of(kernel.space().chosen)} == {key_of(point) for point in kernel.space()}
    assert not proposer.propose(3) and proposer.expected_gain() == 0


@pytest.mark.parametrize("failing", [False, True])
def test_a_large_space_is_sampled_and_ends_too(failing, monkeypatch):
    monkeypatch.setattr("tenfold.tuning.pool.ENUMERATED", 10)
    monkeypatch.setattr("tenfold.tuning.pool.SAMPLED", 20)
    kernel = Fake([knobs((6, 6, 6), 9), knobs((3, 3))])
    proposer = Proposer(kernel, TARGET, seed=1)
    found = everything(proposer, kernel, 7, lambda point: None if failing else 1.0)
    keys = {key_of(point) for point in found}
    assert len(keys) == len(found) and keys | {key_of(kernel.space().chosen)} == {key_of(point) for point in kernel.space()}


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_proposes_the_same(seed):
    def trials():
        kernel = Fake([knobs((9, 9, 9, 9))])
        proposer, found = Proposer(kernel, TARGET, seed=seed), []
        for _ in range(6):
            for point in proposer.propose(5):
                found.append(key_of(point))
                proposer.learn(point, 1.0 + (hash(key_of(point)) % 97) / 97)
        return found

    assert trials() == trials()


def test_other_seeds_propose_others():
    found = [[key_of(p) for p in Proposer(Fake([knobs((9, 9, 9, 9))]), TARGET, seed=seed).propose(40)] for seed in (0, 1)]
    assert found[0] != found[1]


def test_what_is_given_back_is_proposed_again_and_what_was_measured_is_not():
    kernel = Fake([knobs((3, 3))])
    proposer = Proposer(kernel, TARGET)
    points = proposer.propose(8)
    assert len(points) == 8 and not proposer.propose(1)
    proposer.learn(points[0], 1.0)
    proposer.give_back([*points, kernel.space().chosen, {"foreign": 1}])
    again = {key_of(point) for point in proposer.propose(9)}
    assert again == {key_of(point) for point in points[1:]}


def test_a_measurement_that_was_not_proposed_is_taken_in():
    kernel = Fake([knobs((4, 4))])
    proposer = Proposer(kernel, TARGET)
    proposer.learn(kernel.space().chosen, 2.0)
    proposer.learn({"pixels": 3, "vectors": 3}, 1.0)
    assert key_of({"pixels": 3, "vectors": 3}) not in {key_of(point) for point in proposer.propose(16)}
    with pytest.raises(TenfoldError, match="pixels can't be 9"):
        proposer.learn({"pixels": 9, "vectors": 3}, 1.0)


def test_choices_as_json_has_them_are_the_same_points():
    """Lists for tuples."""
    stages = Knobs({"stage0": ((1, 2), (3, 4), (5, 6))})
    proposer = Proposer(Fake([stages]), TARGET)
    proposer.learn({"stage0": [3, 4]}, 1.0)
    assert proposer.propose(3) == [{"stage0": (5, 6)}]


def test_neighbours_of_the_best_are_proposed_whatever_their_estimates():
    kernel = Fake([knobs((64, 4))])
    proposer = Proposer(kernel, TARGET)
    proposer.learn({"pixels": 60, "vectors": 2}, 1.0)  # estimated 63 times slower than the least
    assert any(point["pixels"] > 40 for point in proposer.propose(8))


def test_before_anything_is_measured_the_least_estimates_come_first():
    """Apart from those that are explored."""
    points = Proposer(Fake([knobs((8, 8))]), TARGET).propose(20)
    assert np.median([sum(point.values()) for point in points[:10]]) < np.median([sum(p.values()) for p in knobs((8, 8))]) / 2


def test_points_far_from_the_least_estimate_come_last():
    kernel = Fake([knobs((16,))])
    proposer = Proposer(kernel, TARGET)
    order = [point["pixels"] for point in everything(proposer, kernel, 3, lambda point: 1.0)]
    assert sorted(order[:2]) == [1, 2] and sorted(order[2:]) == list(range(3, 16))  # estimates 1 to 16


def test_points_without_an_estimate_are_among_the_first():
    kernel = Fake([knobs((16,))], unpriced=lambda point: point["pixels"] == 15)
    assert 15 in [point["pixels"] for point in Proposer(kernel, TARGET).propose(3)]


def test_descent_finds_the_best_of_a_smooth_space():
    """What is measured has its least far from that of the estimates."""
    kernel = Fake([knobs((12, 12, 12))])
    proposer, best = Proposer(kernel, TARGET), inf
    for _ in range(20):
        for point in proposer.propose(5):
            ms = 1 + 0.1 * ((point["pixels"] - 3) ** 2 + (point["vectors"] - 2) ** 2 + (point["rows"] - 4) ** 2)
            best = min(best, ms)
            proposer.learn(point, ms)
    assert best <= 1.1


def test_a_gain_is_expected_until_trials_stop_to_gain():
    kernel = Fake([knobs((9, 9, 9))])
    proposer = Proposer(kernel, TARGET)
    assert proposer.expected_gain() == 0  # nothing is known of its latency
    proposer.learn(kernel.space().chosen, 10.0)
    first = proposer.expected_gain()
    for point in proposer.propose(60):
        proposer.learn(point, 10.0)
    assert 0 < proposer.expected_gain() < first / 5 < 10
