"""Which points are faster: a model that learns the order of points from measurements, on top of the analytical estimates.

Boosted trees (XGBoost) are trained on pairs of points of the same task: what is learned is an order, for latencies of different tasks can't
be compared. They start from the analytical order, so that with few measurements it is the estimates that decide. Without the package
`xgboost` the analytical order is all there is.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .features import Vector, estimates

Scores = npt.NDArray[np.float64]
WITHOUT_XGBOOST = "points are ranked by the analytical model alone: pip install 'tenfold[tune]' for one that learns"
FEWEST_ROWS = 8         # measurements below which nothing is learned
STEEPNESS = 4.0         # of the analytical order: of two points, one estimated 28 % slower is the slower one by e : 1
NEAR = 0.02             # latencies that differ by less count as the same: noise makes no pairs
ROUNDS = 40
SETTINGS = {
    "objective": "rank:pairwise", "eta": 0.2, "max_depth": 5, "min_child_weight": 0.5, "lambda": 1.0, "tree_method": "hist",
    "lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": 8, "nthread": 1, "disable_default_eval_metric": 1, "verbosity": 0,
}


@dataclass(frozen=True)
class Group:
    """The measurements of one task on one machine.

    Attributes
    ----------
    vectors : ndarray
        (points, features).
    ms : ndarray
        (points); infinite where one failed.
    """

    vectors: Vector
    ms: npt.NDArray[np.float64]


@cache
def xgboost() -> Any:
    """Return the package, or None where it is not installed."""
    try:
        import xgboost as found
    except ImportError:
        return None
    return found


def note() -> str | None:
    """Return one line for the user where nothing is learned, since a package is missing."""
    return WITHOUT_XGBOOST if xgboost() is None else None


class CostModel:
    """An order of points, learned from measured ones.

    Parameters
    ----------
    teacher : CostModel, optional
        Learned from other tasks: training begins from its order instead of the analytical one.
    seed : int
    """

    def __init__(self, teacher: CostModel | None = None, seed: int = 0):
        self.teacher, self.seed = teacher, seed
        self._trees: Any = None

    @property
    def trained(self) -> bool:
        """Whether it, or its teacher, has learned anything; otherwise its order is the analytical one."""
        return self._trees is not None or (self.teacher is not None and self.teacher.trained)

    def fit(self, groups: Sequence[Group]) -> None:
        """Learn from measurements alone: what was learned before is forgotten, except by the teacher.

        Parameters
        ----------
        groups : sequence of Group
            One of each task: only points of the same group are compared.
        """
        self._trees = None
        kept = [group for group in groups if len(np.unique(grades(group.ms))) > 1]
        package = xgboost()
        if package is None or sum(len(group.ms) for group in kept) < FEWEST_ROWS:
            return
        vectors = np.concatenate([group.vectors for group in kept])
        # Without names of features: XGBoost would read them back in every round, which takes longer than the training.
        data = package.DMatrix(vectors, np.concatenate([grades(group.ms) for group in kept]), group=[len(group.ms) for group in kept],
                               base_margin=self._before(vectors), nthread=1)
        self._trees = package.train({**SETTINGS, "seed": self.seed}, data, ROUNDS)

    def rank(self, vectors: Vector) -> Scores:
        """Return a score for each point, higher for one that is expected to be faster. Only those of one task can be compared.

        Parameters
        ----------
        vectors : ndarray
            (points, features).
        """
        before = self._before(vectors)
        if self._trees is None or not len(vectors):
            return before
        return np.asarray(self._trees.inplace_predict(vectors, predict_type="margin", base_margin=before.astype(np.float32)), np.float64)

    def _before(self, vectors: Vector) -> Scores:
        """The scores that training begins from."""
        return analytical_scores(vectors) if self.teacher is None else self.teacher.rank(vectors)


def analytical_scores(vectors: Vector) -> Scores:
    """Return scores by the estimates alone; a point without one counts as the median of those with one."""
    ms = estimates(vectors)
    known = np.isfinite(ms)
    if not known.any():
        return np.zeros(len(ms))
    logs = np.log(np.where(known, ms, 1.0))
    return -STEEPNESS * np.where(known, logs, np.median(logs[known]))


def grades(ms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return grades of latencies for training: higher is faster, equal where they differ by no more than noise; 0 where one failed."""
    good = np.isfinite(ms)
    if not good.any():
        return np.zeros(len(ms))
    steps = np.round(np.log(np.where(good, ms, 1.0)) / NEAR)
    return np.where(good, steps[good].max() - steps + 1, 0.0)
