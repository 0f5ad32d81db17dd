"""MetaSchedule's search over a kernel's space: allowed points only, each once; it learns from what is measured."""
from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve_cpu
from tenfold.tuning.candidates import Candidates
from tenfold.tuning.engines import Engine
from tenfold.tuning.metaschedule import EvolutionProposer
from tenfold.tuning.pool import key_of

sys.path.append(str(Path(__file__).parent))

from fake_kernel import Fake, knobs
from tuner_fakes import conv_task

TARGET = resolve_cpu("zen3")


@pytest.mark.slow
@pytest.mark.parametrize("failing", [False, True])
def test_allowed_points_are_proposed_once_and_a_small_space_ends(failing):
    kernel = Fake([knobs((3, 3), 3), knobs((2,))])
    proposer, found = EvolutionProposer(kernel, TARGET), []
    proposer.learn(kernel.space().chosen, 1.0)
    while batch := proposer.propose(3):
        assert len(batch) <= 3
        for point in batch:
            proposer.learn(point, None if failing and sum(point.values()) % 2 else 1.0 + sum(point.values()))
        found += batch
    keys = [key_of(point) for point in found]
    assert len(set(keys)) == len(keys) and key_of(kernel.space().chosen) not in keys
    assert set(keys) <= {key_of(point) for point in kernel.space()}
    assert len(keys) >= 7  # of 9: it is drawn by chance, and ends when it has found nothing new for some time
    assert proposer.expected_gain() == 0


@pytest.mark.slow
def test_it_learns_what_is_faster():
    kernel = Fake([knobs((9, 9, 9))])
    proposer, rounds = EvolutionProposer(kernel, TARGET, seed=2), []
    proposer.learn(kernel.space().chosen, 3.0)
    for _ in range(7):
        batch = proposer.propose(8)
        rounds.append([1 + abs(point["pixels"] - 6) / 4 for point in batch])
        for point, ms in zip(batch, rounds[-1], strict=True):
            proposer.learn(point, ms)
    assert mean(map(mean, rounds[4:])) < mean(map(mean, rounds[:2])) - 0.2  # at random: 1.75 on average, always
    assert proposer.expected_gain() > 0


def test_points_that_are_given_back_come_again_first():
    proposer = EvolutionProposer(Fake([knobs((9, 9))]), TARGET)
    first, others = proposer.propose(4), proposer.propose(4)
    proposer.give_back(first)
    assert proposer.propose(4) == first
    assert not {key_of(point) for point in others} & {key_of(point) for point in first}


def test_candidates_of_a_convolution_are_proposed_by_it():
    candidates = Candidates(conv_task(), TARGET, Engine("metaschedule", seed=1))
    for candidate in [candidates.first, *candidates.propose(6)]:
        candidates.learn(candidate, 1.0)
    more = candidates.propose(6)
    assert len({each.key for each in more}) == 6
    assert all(each.choices.keys() == candidates.first.choices.keys() for each in more)


def test_wrong_names_and_missing_packages_are_said(monkeypatch):
    with pytest.raises(TenfoldError, match="--search ansor: there is no such search: give one of tenfold, metaschedule"):
        Engine("ansor")
    monkeypatch.setattr("tenfold.tuning.metaschedule.xgboost", lambda: None)
    with pytest.raises(TenfoldError, match=r"--search metaschedule needs XGBoost: pip install 'tenfold\[tune\]'"):
        Engine("metaschedule")
