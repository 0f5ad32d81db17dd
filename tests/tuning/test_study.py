"""The study of proposals: strategies ask for points of the space, each once, and its results are a table."""
from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "benchmarks" / "tuner")]

from committed import convolutions, named
from simulated import Machine, Task
from strategies import coordinate_descent, proposer, random_search
from study import STRATEGIES, run, study, table
from tenfold.schedules.backend import backend_of
from tenfold.tuning.cost_model import CostModel
from tenfold.tuning.pool import key_of

TARGET = named("zen3")
TRIALS = 24


def task_of(number, seed=0, distance=1.0):
    return Task(backend_of(TARGET).convolution(convolutions()[number]), Machine(TARGET, seed, distance), seed)


def asked(strategy, task, count):
    found = [next(strategy)]
    while len(found) < count:
        found.append(strategy.send(task.measure(found[-1])))
    return found


@pytest.mark.parametrize("strategy", [proposer, random_search, coordinate_descent])
def test_a_strategy_asks_for_points_of_the_space_each_once(strategy):
    task = task_of(2)
    points = asked(strategy(task.kernel, TARGET, 1), task, TRIALS)
    assert points[0] == task.kernel.point and all(point in task.kernel.space() for point in points)
    assert len({key_of(point) for point in points}) == TRIALS
    assert list(map(key_of, points)) == list(map(key_of, asked(strategy(task.kernel, TARGET, 1), task_of(2), TRIALS)))


def test_a_machine_without_distance_is_the_model():
    task = task_of(0, distance=0.0)
    for point in islice(task.kernel.space().neighbours(task.kernel.point), 5):
        np.testing.assert_allclose(task.exact(point), task.kernel.terms_at(point)["ms"])
    assert task.best == min(map(task.exact, islice(task.kernel.space().neighbours(task.kernel.point), 5)))


def test_machines_differ_from_the_model_and_from_each_other():
    points = list(islice(task_of(0).kernel.space(), 20))
    first, second = (np.log([task_of(0, seed).exact(point) for point in points]) for seed in (0, 1))
    model = np.log([task_of(0).kernel.terms_at(point)["ms"] for point in points])
    assert np.std(first - model) > 0.02 and np.std(first - second) > 0.02


def test_proposals_are_better_than_any_points():
    """Over some kernels together, after few trials."""
    def after(name):
        return np.mean([np.log(min(run(STRATEGIES[name](task, 0, CostModel()), task, TRIALS)) / task.kernel.terms()["ms"])
                        for task in (task_of(number, number) for number in (0, 5, 11, 17))])

    assert after("proposer") < after("random")


def test_results_make_a_table(monkeypatch):
    monkeypatch.setattr("study.kernels_of", lambda target, count: [task_of(number).kernel for number in (2, 5)][:count])
    monkeypatch.setattr("study.SAMPLED", 50)
    results = list(study(TARGET, 1, 8, 2))
    assert len(results) == 2 * len(STRATEGIES) and all(0 < each["speed"][8] <= 1 for each in results)
    lines = table(results).splitlines()
    assert len(lines) == 1 + len(STRATEGIES) and all(name in table(results) for name in STRATEGIES)
