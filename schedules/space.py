"""The ways in which a kernel can be built: knobs, their values, and the points that are allowed."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from ..support.errors import TenfoldError

# The version of what knobs mean, in records of tuners: a record of another version is not used.
# One more whenever a point that was in a space builds another kernel than before, or other code that is not as fast: a knob or a value has
# another meaning, a workload another name, a schedule another loop nest. A new knob, or one that is gone, needs no new version: such
# points are not in the space, and are passed over.
SPACE_VERSION = 2

Value: TypeAlias = bool | int | str | tuple[int, ...]
Point: TypeAlias = Mapping[str, Value]  # a value for each knob; as JSON, tuples are lists


def number(point: Point, knob: str) -> int:
    """Return the value of a knob that is a number, or a switch as 0 or 1."""
    value = point[knob]
    assert isinstance(value, int), f"{knob} is {value!r}"
    return value


@dataclass(frozen=True)
class Knobs:
    """Knobs that belong together, and which of their combinations can be built.

    Attributes
    ----------
    values : mapping of str to sequence
        For each knob, the values that it can have.
    allowed : callable, optional
        Says of a point with these knobs whether it can be built. By default all can.
    """

    values: Mapping[str, Sequence[Value]]
    allowed: Callable[[Point], bool] = lambda point: True

    def __contains__(self, point: Point) -> bool:
        return point.keys() == self.values.keys() and all(v in self.values[k] for k, v in point.items()) and self.allowed(point)

    def __iter__(self) -> Iterator[dict[str, Value]]:
        """Go through the points that are allowed, the last knob fastest."""
        for values in product(*self.values.values()):
            point = dict(zip(self.values, values, strict=True))
            if self.allowed(point):
                yield point


@dataclass(frozen=True)
class Space:
    """All points that a kernel can be built from: those of one or several sets of knobs, one for each algorithm.

    Attributes
    ----------
    chosen : Point
        What the model of the machine chooses: the first candidate of every search.
    alternatives : tuple of Knobs
    """

    chosen: Point
    alternatives: tuple[Knobs, ...]

    def __contains__(self, point: Point) -> bool:
        return point == self.chosen or any(point in knobs for knobs in self.alternatives)

    def __iter__(self) -> Iterator[Point]:
        """Go through all points, the model's choice first, each once."""
        yield self.chosen
        for knobs in self.alternatives:
            yield from (point for point in knobs if point != self.chosen)

    def neighbours(self, point: Point) -> Iterator[Point]:
        """Go through the allowed points that differ from `point` in one knob."""
        for knobs in self.alternatives:
            if point.keys() != knobs.values.keys():
                continue
            for knob, values in knobs.values.items():
                for value in values:
                    near = {**point, knob: value}
                    if value != point[knob] and knobs.allowed(near):
                        yield near

    def check(self, point: Point, kernel: str) -> dict[str, Value]:
        """Return `point` as knobs have it, lists made tuples.

        Raises
        ------
        TenfoldError
            The kernel can't be built from it; the message names the kernel and the knob.
        """
        found = {knob: tuple(value) if isinstance(value, list) else value for knob, value in point.items()}
        if found in self:
            return found
        near = next((knobs for knobs in self.alternatives if knobs.values.keys() == found.keys()), None)
        if near is None:
            raise TenfoldError(f"the choice for {kernel} has the knobs {', '.join(found)}: this kernel has "
                               f"{' or '.join(', '.join(knobs.values) for knobs in self.alternatives)}")
        wrong = next((knob for knob, value in found.items() if value not in near.values[knob]), None)
        why = f"{wrong} can't be {found[wrong]}" if wrong is not None else "these values can't be combined"
        raise TenfoldError(f"the choice for {kernel} can't be built on this target: {why}")
