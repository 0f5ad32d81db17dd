"""Which candidates of a layer are worth measuring, by what is known of their neighbours: ranks of the same method above and below.

Time and error of a method both go with its MACs, smoothly: between two ranks that were measured they are interpolated, on logarithmic
scales. What is clearly beaten there, or clearly slower than the layer as it is, is not compiled.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from .candidates import Candidate

CLEARLY = 0.8  # of the time that is expected: what is faster by so much at no more error beats for sure
SMALLEST = 1e-9  # errors below count as this


class Known(Protocol):
    """What is known of a candidate: `survey.Option`."""

    @property
    def candidate(self) -> Candidate:
        """Which one."""

    @property
    def ms(self) -> float:
        """Of the layer with it."""

    @property
    def dense_ms(self) -> float:
        """Of the layer as it is."""

    @property
    def error(self) -> float | None:
        """Relative."""

    @property
    def refused(self) -> str | None:
        """Why it is out of the question."""


@dataclass(frozen=True)
class Expected:
    """Milliseconds and error of a candidate by its neighbours; infinite and 0 where they say nothing."""

    ms: float
    error: float


def expected(candidate: Candidate, known: Sequence[Known]) -> Expected | None:
    """By options of the same layer and method; None where there are not two of them around it whose times are known."""
    if candidate.prunes:  # what it saves in other layers may be more than the layer takes: there are no logarithms of that
        return None
    mine = [o for o in known if o.candidate.layer == candidate.layer and o.candidate.choice.method == candidate.choice.method]
    timed = sorted({o.candidate.macs: o.ms for o in mine if o.ms < inf}.items())
    if not timed or not timed[0][0] <= candidate.macs <= timed[-1][0]:
        return None
    ms = _between(candidate.macs, timed)
    told = sorted({o.candidate.macs: max(o.error, SMALLEST) for o in mine if o.error is not None}.items())
    # More MACs have less error: beyond the largest that is known no more than there is hoped for, below the smallest the same.
    inside = told and candidate.macs <= told[-1][0]
    return Expected(ms, _between(candidate.macs, told) if inside else 0.0)


def far_from_front(candidate: Candidate, known: Sequence[Known]) -> tuple[float, str] | None:
    """The milliseconds that a candidate is expected to take, and why it is not worth measuring; None where it is.

    Parameters
    ----------
    candidate : Candidate
    known : sequence of Known
        Of all layers, measured.
    """
    found = expected(candidate, known)
    if found is None:
        return None
    here = [option for option in known if option.candidate.layer == candidate.layer]
    dense = here[0].dense_ms
    if CLEARLY * found.ms >= dense:
        return found.ms, f"not measured: about {found.ms:.4f} ms by its neighbours, dense {dense:.4f} ms"
    for option in here:
        if option.error is not None and option.refused is None and option.ms <= CLEARLY * found.ms and option.error <= found.error:
            better = f"{option.candidate.choice.method} takes {option.ms:.4f} ms at an error of {option.error:.3f}"
            return found.ms, f"not measured: about {found.ms:.4f} ms at an error of {found.error:.3f} by its neighbours; {better}"
    return None


def _between(macs: int, points: Sequence[tuple[int, float]]) -> float:
    at, values = (np.log(column) for column in zip(*points, strict=True))
    return float(np.exp(np.interp(np.log(macs), at, values)))
