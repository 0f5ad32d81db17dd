"""Proposals for one task: which points to measure next.

    pool          all points of the space, or a sample, those far from the least estimate last        `pool.py`
    ranking       by the analytical model; after some measurements by what was learned                `cost_model.py`
    descent       points around the best measured ones, which differ from them in one knob or two        `around.py`
    exploration   a share of any points of the pool
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from math import inf

import numpy as np
import numpy.typing as npt

from ..schedules.space import Point
from ..targets import Target
from .around import around
from .cost_model import CostModel, Group
from .expectation import history_gain, model_gain
from .features import Tunable
from .pool import Pool

WARM_UP = 8        # measurements that are ranked by what was known before
NEIGHBOURS = 0.4   # share of the proposals that are neighbours of the best
EXPLORED = 0.1     # share that is drawn from the pool
BEST = 2           # measured points whose neighbours are proposed
PROMISING = 2      # points not measured, the first of the ranking, whose neighbours come into the pool
LOOKED_AT = 8      # best candidates, whose expected gain counts
MOST_NEW = 16      # neighbours of each of them that are looked at in a call: to price one can take half a millisecond


class Proposer:
    """Proposes points of one space, each once.

    Parameters
    ----------
    task_kernel : Tunable
        A kernel, or a run of layers.
    target : Target
    teacher : CostModel, optional
        Learned from other tasks or machines.
    seed : int
        The same seed and measurements give the same proposals.

    Attributes
    ----------
    model : CostModel
        What ranks points; it learns from what was measured of this task.
    """

    def __init__(self, task_kernel: Tunable, target: Target, teacher: CostModel | None = None, seed: int = 0):
        self._kernel, self._target, self._rng = task_kernel, target, np.random.default_rng(seed)
        self.model = CostModel(teacher, seed)
        self._measured: dict[int, float] = {}       # by place in the pool; infinite where it failed
        self._history: list[float | None] = []
        self._gone: set[int] = set()                # proposed or measured, by place
        self._stale = False                         # the model has not seen all measurements
        self._around: dict[int, Iterator[Point]] = {}  # by place, its neighbours that are not looked at yet
        self._near: dict[int, set[int]] = {}           # likewise, places of the others
        self._made: Pool | None = None

    @property
    def _pool(self) -> Pool:
        if self._made is None:
            self._made = Pool(self._kernel, self._target, self._rng)
            self._gone.add(self._made.place(self._made.space.chosen))  # is measured first, by whoever asks for proposals
        return self._made

    def propose(self, count: int) -> list[Point]:
        """Return up to `count` points that were not proposed before, the most promising first; fewer, or none, when all have been."""
        found: list[Point] = []
        while len(found) < count:
            batch = self._batch(count - len(found))
            if not batch and not self._pool.more(count - len(found)):
                break
            self._gone.update(batch)
            found += [self._pool.points[place] for place in batch]
        return found

    def learn(self, point: Point, ms: float | None) -> None:
        """Take in a measurement, also of a point that was not proposed.

        Parameters
        ----------
        point : Point
            Of the space.
        ms : float or None
            None: it failed.

        Raises
        ------
        TenfoldError
            The point is not in the space.
        """
        good = ms is not None and 0 < ms < inf
        place = self._pool.place(self._pool.space.check(point, self._kernel.workload))
        self._gone.add(place)
        self._measured[place] = min(self._measured.get(place, inf), ms if good and ms is not None else inf)
        self._history.append(ms if good else None)
        self._stale = True

    def give_back(self, points: Iterable[Point]) -> None:
        """Let points be proposed again that were not measured after all."""
        for point in points:
            if point in self._pool and point != self._pool.space.chosen and self._pool.place(point) not in self._measured:
                self._gone.discard(self._pool.place(point))

    def expected_gain(self) -> float:
        """Return by how many milliseconds the next trial may make the task's best latency less.

        It is 0 where nothing is left to try, and where nothing has been measured, since the latency is not known.
        """
        good = {place: ms for place, ms in self._measured.items() if ms < inf}
        left = self._left()
        if not good or (not len(left) and self._pool.whole):
            return 0.0
        gain = history_gain(self._history)
        if self.model.trained and len(left):
            self._refit()
            places = list(good)
            promising = np.sort(self.model.rank(self._pool.vectors(left)))[::-1][:LOOKED_AT]
            gain = (gain + model_gain(self.model.rank(self._pool.vectors(places)).tolist(), list(good.values()), promising.tolist())) / 2
        return min(good.values()) * gain

    def _left(self, also: Collection[int] = ()) -> npt.NDArray[np.intp]:
        """Places of points that were not proposed: those that are likely, and some others; all others where there are none."""
        free = np.ones(len(self._pool), bool)
        free[list(self._gone)] = False
        likely = self._pool.likely()
        likely[list(also)] = True
        likely &= free
        return np.flatnonzero(likely if likely.any() else free)

    def _batch(self, count: int) -> list[int]:
        """Places of up to `count` points that were not proposed."""
        self._refit()
        for place in self._ranked()[:PROMISING].tolist():
            self._look_around(place)
        near: set[int] = set()
        for _, place in sorted((ms, place) for place, ms in self._measured.items() if ms < inf)[:BEST]:
            near |= self._look_around(place)
        order = self._ranked(near)  # whatever their estimates: what is measured there says more
        return self._shares(order, [int(place) for place in order if place in near], count)

    def _shares(self, order: npt.NDArray[np.intp], near: Sequence[int], count: int) -> list[int]:
        """Neighbours, explored points and the best of the ranking, in turn as their shares say."""
        best, around = iter(order.tolist()), iter(near)
        chosen: list[int] = []
        taken: set[int] = set()
        for _ in range(min(count, len(order))):
            draw = self._rng.random()
            place: int | None = None
            if draw < EXPLORED:
                place = int(order[self._rng.integers(len(order))])
            elif draw < EXPLORED + NEIGHBOURS:
                place = next((each for each in around if each not in taken), None)
            if place is None or place in taken:
                place = next(each for each in best if each not in taken)
            taken.add(place)
            chosen.append(place)
        return chosen

    def _ranked(self, also: Collection[int] = ()) -> npt.NDArray[np.intp]:
        """Places of points that are left, the most promising first."""
        left = self._left(also)
        return left[np.argsort(-self.model.rank(self._pool.vectors(left)), kind="stable")]

    def _look_around(self, place: int) -> set[int]:
        """Places of the neighbours of a point that were looked at, now or before; new ones come into the pool."""
        if place not in self._around:
            self._around[place], self._near[place] = self._shuffled(self._pool.points[place]), set()
        for point in islice(self._around[place], MOST_NEW):
            self._near[place].add(self._pool.place(point))
        return self._near[place]

    def _shuffled(self, point: Point) -> Iterator[Point]:
        """Neighbours in one knob, in any order; then the others as they come."""
        near = list(self._pool.space.neighbours(point))
        yield from (near[i] for i in self._rng.permutation(len(near)))
        yield from islice(around(self._pool.space, point), len(near), None)

    def _refit(self) -> None:
        if not self._stale:
            return
        self._stale = False
        if len(self._measured) >= WARM_UP:
            places = list(self._measured)
            self.model.fit([Group(self._pool.vectors(places), np.array([self._measured[place] for place in places]))])
