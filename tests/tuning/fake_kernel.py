"""A kernel of numbers, for tests of what proposes points."""
from __future__ import annotations

from tenfold.schedules.space import Knobs, Space
from tenfold.schedules.terms import terms


class Fake:
    """A kernel with a space of numbers, whose estimate is the sum of its knobs; of some points there is none."""

    workload = "fake"

    def __init__(self, alternatives, unpriced=lambda point: False):
        first = next(iter(alternatives[0]))
        self._space, self._unpriced = Space(first, tuple(alternatives)), unpriced

    def space(self):
        return self._space

    def terms_at(self, point):
        self._space.check(point, self.workload)
        size = sum(int(value) for value in point.values() if isinstance(value, int))
        return terms(None if self._unpriced(point) else 1e-3 * (1 + size), accumulators=size)


def knobs(sizes, most=None):
    """Knobs of so many values each; of their points those whose sum is at most `most`."""
    allowed = (lambda point: True) if most is None else (lambda point: sum(point.values()) <= most)
    return Knobs({name: tuple(range(size)) for name, size in zip(("pixels", "vectors", "rows", "tiles"), sizes, strict=False)}, allowed)
