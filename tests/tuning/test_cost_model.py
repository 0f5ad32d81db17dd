"""The cost model learns the order of points, also of tasks that it has not seen; without its package the estimates are the order."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from tenfold.targets import resolve_cpu
from tenfold.tuning import cost_model
from tenfold.tuning.cost_model import CostModel, Group, analytical_scores, grades, note
from tenfold.tuning.features import ESTIMATE, FEATURE_NAMES, PRICED
from tenfold.tuning.propose import Proposer

sys.path.append(str(Path(__file__).parent))

from fake_kernel import Fake, knobs

FIRST, SECOND = FEATURE_NAMES.index("knob pixels"), FEATURE_NAMES.index("term tail")
needs_xgboost = pytest.mark.skipif(cost_model.xgboost() is None, reason="needs xgboost-cpu")


def vectors_of(rng, count, size):
    """Points of a task of some size: estimates that say half of the truth, and two features that say the rest."""
    vectors = np.zeros((count, len(FEATURE_NAMES)), np.float32)
    vectors[:, PRICED] = 1
    vectors[:, ESTIMATE] = size + rng.normal(0, 0.5, count)
    vectors[:, FIRST], vectors[:, SECOND] = rng.uniform(0, 4, count), rng.uniform(1, 2, count)
    return vectors


def latencies(vectors, rng=None):
    logs = vectors[:, ESTIMATE] * np.log(2) + 0.3 * np.abs(vectors[:, FIRST] - 2) + 0.5 * vectors[:, SECOND]
    return np.exp(logs + (0.01 * rng.standard_normal(len(logs)) if rng is not None else 0)).astype(float)


def groups(rng, tasks, count):
    found = [vectors_of(rng, count, size) for size in range(tasks)]
    return [Group(vectors, latencies(vectors, rng)) for vectors in found]


def order(model, vectors):
    return spearmanr(model.rank(vectors), -latencies(vectors)).statistic


@needs_xgboost
@pytest.mark.parametrize("seed", range(3))
def test_an_order_is_learned_that_holds_for_other_tasks(seed):
    rng = np.random.default_rng(seed)
    model, held_out = CostModel(seed=seed), vectors_of(rng, 200, 30)
    before = order(model, held_out)
    model.fit(groups(rng, 6, 40))
    assert model.trained and before < 0.85 and order(model, held_out) > 0.92


@needs_xgboost
def test_more_measurements_of_the_task_itself_make_it_better_than_its_teacher():
    """Whose machine is another one: a feature means the opposite there."""
    rng = np.random.default_rng(0)
    lessons = groups(rng, 6, 40)
    teacher = CostModel()
    teacher.fit([Group(each.vectors, each.ms * np.exp(-1.2 * each.vectors[:, SECOND])) for each in lessons])
    model, own, rest = CostModel(teacher), vectors_of(rng, 60, 3), vectors_of(rng, 200, 3)
    before = order(model, rest)
    model.fit([Group(own, latencies(own, rng))])
    assert order(model, rest) > before + 0.02


@needs_xgboost
def test_learning_is_repeatable():
    lessons, tried = groups(np.random.default_rng(1), 4, 30), vectors_of(np.random.default_rng(2), 50, 1)
    scores = []
    for _ in range(2):
        model = CostModel(seed=3)
        model.fit(lessons)
        scores.append(model.rank(tried))
    np.testing.assert_array_equal(*scores)


@needs_xgboost
def test_points_like_those_that_failed_come_last():
    rng = np.random.default_rng(4)
    [lesson] = groups(rng, 1, 80)
    failed = lesson.vectors[:, FIRST] > 2
    model = CostModel()
    model.fit([Group(lesson.vectors, np.where(failed, np.inf, lesson.ms))])
    tried = vectors_of(rng, 100, 0)
    scores, bad = model.rank(tried), tried[:, FIRST] > 2.1
    assert np.median(scores[bad]) < np.quantile(scores[~bad], 0.2)


def test_without_the_package_the_estimates_are_the_order(monkeypatch):
    monkeypatch.setattr(cost_model, "xgboost", lambda: None)
    rng = np.random.default_rng(0)
    model, tried = CostModel(), vectors_of(rng, 30, 2)
    model.fit(groups(rng, 4, 20))
    assert not model.trained and "tenfold[tune]" in str(note()) and "\n" not in str(note())
    np.testing.assert_array_equal(np.argsort(-model.rank(tried)), np.argsort(tried[:, ESTIMATE]))
    proposer = Proposer(Fake([knobs((5, 5))]), resolve_cpu("zen3"))
    points = proposer.propose(20)
    for point in points:
        proposer.learn(point, 1.0)
    assert len(points) == 20 and len(proposer.propose(20)) == 4 and proposer.expected_gain() == 0


@needs_xgboost
def test_there_is_nothing_to_say_with_the_package():
    assert note() is None


@pytest.mark.parametrize("ms", [[], [1.0], [1.0, 1.001], [np.inf, np.inf], [1.0, 1.0, 1.0] * 10])
def test_measurements_without_an_order_teach_nothing(ms):
    rng = np.random.default_rng(0)
    model, vectors = CostModel(), vectors_of(rng, len(ms), 1)
    model.fit([Group(vectors, np.array(ms))] if ms else [])
    assert not model.trained
    np.testing.assert_array_equal(model.rank(vectors), analytical_scores(vectors))


def test_a_point_without_an_estimate_is_in_the_middle():
    vectors = vectors_of(np.random.default_rng(0), 5, 0)
    vectors[4, PRICED] = 0
    scores = analytical_scores(vectors)
    assert np.sort(scores[:4])[1] <= scores[4] <= np.sort(scores[:4])[2]
    vectors[:, PRICED] = 0
    assert (analytical_scores(vectors) == 0).all()


def test_grades_are_higher_where_latencies_are_less_and_0_where_it_failed():
    found = grades(np.array([1.0, 1.001, 2.0, np.inf, 0.5]))
    assert found[0] == found[1] > found[2] > found[3] == 0 and found[4] == found.max()
    assert len(grades(np.array([]))) == 0
