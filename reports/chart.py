"""Geometry of a small chart: numbers -> where lines, marks and labels stand in its picture. A template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 360, 236  # units of the picture: on a phone they are pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 10, 38  # margins
TICKS = 5  # on an axis, about
TINY = 1e-300  # of such values parts can be lost


@dataclass(frozen=True)
class Tick:
    """A label on an axis, at a place of the picture."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A point that can be pointed at.

    Attributes
    ----------
    x, y : float
    shape : str
        ``square``, ``circle`` or ``diamond``: told apart without colour.
    words : str
        What is said of it.
    low, high : float or None
        The ends of its bar of uncertainty.
    """

    x: float
    y: float
    shape: str
    words: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line through points, ``x,y x,y``; `style` numbers its dashes."""

    points: str
    style: int
    label: str = ""


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn."""

    title: str
    xlabel: str
    ylabel: str
    xticks: tuple[Tick, ...]
    yticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    level: float | None = None

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


@dataclass(frozen=True)
class Axis:
    """From values to places along one side of the picture."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value; of one beyond the ends, that of the end."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.begin + min(max(part, 0.0), 1.0) * (self.end - self.begin), 1)

    def ticks(self, unit: str = "") -> tuple[Tick, ...]:
        """Round numbers between the ends."""
        step = _step((self.high - self.low) / TICKS)
        digits = max(0, -floor(log10(step) + 1e-9))
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return tuple(Tick(self.at(n * step), f"{n * step:.{digits}f}{unit}") for n in range(first, last + 1))


def x_axis(low: float, high: float) -> Axis:
    """Along the bottom."""
    return Axis(*_apart(low, high), LEFT, WIDTH - RIGHT)


def y_axis(low: float, high: float) -> Axis:
    """Up the left side."""
    return Axis(*_apart(low, high), HEIGHT - BOTTOM, TOP)


def path(places: Sequence[tuple[float, float]]) -> str:
    """As a polyline has it."""
    return " ".join(f"{x},{y}" for x, y in places)


def _apart(low: float, high: float) -> tuple[float, float]:
    """Ends that differ, however alike the values are."""
    if not (isfinite(low) and isfinite(high)) or high - low <= 1e-12 * max(abs(low), abs(high), TINY):
        middle = low if isfinite(low) else 0.0
        half = abs(middle) / 2 if abs(middle) > TINY else 0.5
        return middle - half, middle + half
    return low, high


def _step(wanted: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(wanted))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted * (1 - 1e-9))
