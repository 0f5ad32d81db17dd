"""Learning rates as functions of the step: so a schedule has no state that could be lost."""
from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Protocol

from ...support.errors import TenfoldError


class Schedule(Protocol):
    """A learning rate for each step."""

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` of `steps`, from 0 on."""


@dataclass(frozen=True)
class Stairs:
    """A constant rate, then others from certain steps on, as in the papers.

    Attributes
    ----------
    rates : tuple of float
    boundaries : tuple of int
        The first steps of the second rate, of the third, ...
    """

    rates: tuple[float, ...]
    boundaries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.boundaries) + 1 or list(self.boundaries) != sorted(set(self.boundaries)):
            raise TenfoldError(f"learning rates {self.rates} from steps {self.boundaries} on: one rate more than steps, which must rise")
        _check(*self.rates)

    def rate(self, step: int, steps: int) -> float:
        """The rate of the stair that the step stands on."""
        return self.rates[sum(step >= boundary for boundary in self.boundaries)]


@dataclass(frozen=True)
class OneCycle:
    """Up to a peak and down to nearly nothing, along cosines: Smith and Topin, "Super-convergence" (2018).

    Attributes
    ----------
    peak : float
    rise : float
        The fraction of the steps in which the rate rises to the peak.
    start, end : float
        Fractions of the peak that it begins and ends with.
    """

    peak: float
    rise: float = 0.2
    start: float = 0.04
    end: float = 4e-6

    def __post_init__(self) -> None:
        _check(self.peak)
        if not 0 <= self.rise < 1:
            raise TenfoldError(f"the learning rate rises for {self.rise} of the steps: at least 0, and less than 1")

    def rate(self, step: int, steps: int) -> float:
        """The rate on one of the two cosines."""
        top = self.rise * steps
        if step < top:
            part, low, high = step / top, self.start, 1.0
        else:
            part, low, high = (step - top) / max(steps - 1 - top, 1), 1.0, self.end
        return self.peak * (low + (high - low) * (1 - cos(pi * min(part, 1))) / 2)


def _check(*rates: float) -> None:
    for rate in rates:
        if not 0 < rate < float("inf"):
            raise TenfoldError(f"learning rate {rate}: it must be above 0")
