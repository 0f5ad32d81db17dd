"""The points of a space that are considered: all of a small one, a fair sample of a large one, and those that are worth a look first.

A sample is fair if every point of an algorithm is as likely as any other. Each algorithm gets an equal share, whatever the size of its
part of the space. Only counts limit the work, never a clock, so that the same seed gives the same points.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..schedules.space import Knobs, Point
from ..targets import Target
from .features import FeatureMaker, Tunable, Vector, estimates

ENUMERATED = 6000       # combinations of knobs, up to which a space is gone through as a whole
SAMPLED = 1024          # points that are drawn from a larger one, all algorithms together
DRAWS = 8               # combinations that are tried for each of them, at most: few of them can be built
MOST_FACTOR = 3.0       # times the least estimate: what is estimated slower is considered last
CLIMBED, STARTS = 4, 4  # how often the neighbours of the best estimates are added, and of how many of these

Key: TypeAlias = tuple[tuple[str, object], ...]


def key_of(point: Point) -> Key:
    """Return a point as a key."""
    return tuple(sorted((knob, tuple(value) if isinstance(value, list) else value) for knob, value in point.items()))


class Pool:
    """Points of one space with their features.

    Attributes
    ----------
    points : list of Point
        Each once, the model's choice first.
    """

    def __init__(self, kernel: Tunable, target: Target, rng: np.random.Generator):
        self.space, self._features, self._rng = kernel.space(), FeatureMaker(kernel, target), rng
        self.points: list[Point] = []
        self._places: dict[Key, int] = {}
        self._vectors: list[Vector] = []
        self._matrix: Vector | None = None
        self._rest: Iterator[Point] = iter(self.space)
        self.whole = sum(map(_combinations, self.space.alternatives)) <= ENUMERATED
        self.add([self.space.chosen])
        self.add(list(self._rest) if self.whole else self._sample())
        if not self.whole:
            self._climb()

    def __contains__(self, point: Point) -> bool:
        return key_of(point) in self._places

    def __len__(self) -> int:
        return len(self.points)

    def place(self, point: Point) -> int:
        """Return where a point is in `points`; it is added if it is new."""
        self.add([point])
        return self._places[key_of(point)]

    def add(self, points: Sequence[Point]) -> None:
        """Add points of the space that are new."""
        for point in points:
            key = key_of(point)
            if key not in self._places:
                self._vectors.append(self._features(point))
                self._matrix = None
                self._places[key] = len(self.points)
                self.points.append(point)

    def vectors(self, places: Sequence[int] | npt.NDArray[np.intp] | None = None) -> Vector:
        """Return (points, features), of some places or of all."""
        if self._matrix is None:
            self._matrix = np.stack(self._vectors)
        return self._matrix if places is None else self._matrix[np.asarray(places, np.intp)]

    def likely(self) -> npt.NDArray[np.bool_]:
        """Return for each point whether its estimate is near enough to the least one, or it has none."""
        ms = estimates(self.vectors())
        return ~np.isfinite(ms) | (ms <= MOST_FACTOR * ms.min())

    def more(self, count: int) -> bool:
        """Add the next points of the space that are new, `count` of them where there are so many; say whether there was any."""
        before = len(self)
        if not self.whole:
            for point in self._rest:
                self.add([point])
                if len(self) - before >= count:
                    break
            else:
                self.whole = True
        return len(self) > before

    def _sample(self) -> list[Point]:
        each = max(1, SAMPLED // len(self.space.alternatives))
        return [point for knobs in self.space.alternatives for point in drawn(knobs, each, self._rng)]

    def _climb(self) -> None:
        """Add neighbours of the points with the least estimates, again and again, until none is new."""
        seen: set[int] = set()
        for _ in range(CLIMBED):
            ms = estimates(self.vectors())
            best = [int(place) for place in np.argsort(ms, kind="stable")[:STARTS] if np.isfinite(ms[place]) and int(place) not in seen]
            if not best:
                return
            seen.update(best)
            for place in best:
                self.add(list(self.space.neighbours(self.points[place])))


def _combinations(knobs: Knobs) -> int:
    return prod(len(values) for values in knobs.values.values())


def drawn(knobs: Knobs, count: int, rng: np.random.Generator) -> list[Point]:
    """Different points, each as likely as any other; all of them where there are not many combinations."""
    total = _combinations(knobs)
    if total <= count * DRAWS:
        found: list[Point] = list(knobs)
        return found if len(found) <= count else [found[i] for i in sorted(rng.choice(len(found), count, replace=False))]
    kept: dict[Key, Point] = {}
    names, values = list(knobs.values), list(knobs.values.values())
    columns = [rng.integers(len(each), size=count * DRAWS) for each in values]
    for row in zip(*columns, strict=True):
        point = {name: each[i] for name, each, i in zip(names, values, row, strict=True)}
        if knobs.allowed(point):
            kept.setdefault(key_of(point), point)
            if len(kept) == count:
                break
    return list(kept.values())
