"""The points around a point: those that differ in one knob, and where a knob can't change alone, those that differ in a second one, too.

Knobs often belong together: Winograd's tiles of a task are a multiple of the pixels of a register tile. A descent that changes one knob
at a time could not leave the first pixels that it is given.
"""
from __future__ import annotations

from collections.abc import Iterator

from ..schedules.space import Knobs, Point, Space, Value

STEPS = 2     # values to either side that a knob is changed by, where another one has to follow
FOLLOWED = 8  # values to either side that the other one is tried at, the nearest first


def around(space: Space, point: Point) -> Iterator[Point]:
    """Go through the allowed points around a point: in one knob, then in two. A point may come again."""
    yield from space.neighbours(point)
    for knobs in space.alternatives:
        if point.keys() == knobs.values.keys():
            yield from _together(knobs, point)


def _together(knobs: Knobs, point: Point) -> Iterator[Point]:
    for knob in knobs.values:
        for value in _beside(knobs, point, knob, STEPS):
            changed = {**point, knob: value}
            if knobs.allowed(changed):
                continue  # it can change alone
            for other in knobs.values:
                if other != knob:
                    tried = ({**changed, other: each} for each in _beside(knobs, point, other, FOLLOWED))
                    found = next((each for each in tried if knobs.allowed(each)), None)
                    if found is not None:
                        yield found


def _beside(knobs: Knobs, point: Point, knob: str, most: int) -> Iterator[Value]:
    """Other values of a knob, the nearest in its sequence first."""
    values = list(knobs.values[knob])
    if point[knob] not in values:
        return
    here = values.index(point[knob])
    for step in range(1, most + 1):
        for place in (here - step, here + step):
            if 0 <= place < len(values):
                yield values[place]
