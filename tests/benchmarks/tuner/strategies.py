"""Ways to choose what to measure next, each a generator of points that is sent what was measured."""
from __future__ import annotations

from collections.abc import Generator

import numpy as np
from tenfold.schedules.space import Point
from tenfold.targets import Target
from tenfold.tuning.cost_model import CostModel
from tenfold.tuning.features import Tunable
from tenfold.tuning.pool import drawn, key_of
from tenfold.tuning.propose import Proposer

BATCH = 8   # points that are proposed at a time
DRAWN = 512  # points that random search draws of each algorithm, at most
Strategy = Generator[Point, float, None]


def proposer(kernel: Tunable, target: Target, seed: int, teacher: CostModel | None = None, model: CostModel | None = None) -> Strategy:
    """The model's choice, then what `Proposer` proposes, by its own model or by another one."""
    asked = Proposer(kernel, target, teacher, seed)
    asked.model = model or asked.model
    points = [kernel.space().chosen]
    while points:
        for point in points:
            asked.learn(point, (yield point))
        points = asked.propose(BATCH)


def random_search(kernel: Tunable, target: Target, seed: int) -> Strategy:
    """The model's choice, then any points."""
    for point in _any(kernel, seed):  # noqa: UP028 - a list can't be told what was measured
        yield point


def coordinate_descent(kernel: Tunable, target: Target, seed: int) -> Strategy:
    """From the model's choice on: neighbours in any order, on to the first one that is faster; where none is, from any other point."""
    rng, seen = np.random.default_rng(seed), set()
    for here in _any(kernel, seed):
        if key_of(here) in seen:
            continue
        seen.add(key_of(here))
        best = yield here
        moved = True
        while moved:
            moved = False
            around = [point for point in kernel.space().neighbours(here) if key_of(point) not in seen]
            for i in rng.permutation(len(around)):
                seen.add(key_of(around[i]))
                ms = yield around[i]
                if ms < best:
                    here, best, moved = around[i], ms, True
                    break


def _any(kernel: Tunable, seed: int) -> list[Point]:
    space, rng = kernel.space(), np.random.default_rng(seed)
    points = [point for knobs in space.alternatives for point in drawn(knobs, DRAWN, rng) if point != space.chosen]
    return [space.chosen, *(points[i] for i in rng.permutation(len(points)))]
