"""Is what was compiled the network that was given? Compared on random and real inputs with an independent engine."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import VerificationError

# Two correct float32 engines sum in different orders. A sum of n products then differs by about sqrt(n) * 2^-24 of its magnitude:
# 1e-5 for the 25088 inputs of VGG's first dense layer, and as much again over tens of layers. What a wrong stride, a lost bias or a bad
# index does starts at 1e-2. 1e-4 lies between.
TOLERANCE = 1e-4

Run = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Errors:
    """The largest absolute and relative differences over all outputs and inputs that were tried; see `compare_arrays`."""

    absolute: float = 0.0
    relative: float = 0.0

    def __or__(self, other: Errors) -> Errors:
        return Errors(max(self.absolute, other.absolute), max(self.relative, other.relative))


def compare_arrays(actual: np.ndarray, expected: np.ndarray) -> Errors:
    """How far `actual` is from `expected`.

    Floats: absolute is ``max |a - b|``, relative is ``max |a - b| / max |b|`` over the whole array: the error of one element counts
    against the largest one, since the rounding errors that an element inherits are those of the large numbers it was summed from.
    Positions where both are NaN, or both the same infinity, agree; where only one is, the errors are infinite.
    Whole numbers and booleans (an arg max, a mask): absolute is the same, relative is the fraction of elements that differ.

    Raises
    ------
    VerificationError
        If the shapes or kinds of dtype differ.
    """
    if actual.shape != expected.shape or actual.dtype.kind != expected.dtype.kind:
        raise VerificationError(
            f"the compiled network returns {actual.dtype}{list(actual.shape)}, the reference {expected.dtype}{list(expected.shape)}"
        )
    if actual.size == 0:
        return Errors()
    if actual.dtype.kind != "f":
        difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
        return Errors(float(difference.max()), float((difference > 0).mean()))
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    if not (same | finite).all():
        return Errors(np.inf, np.inf)
    absolute = float(np.abs(np.subtract(a, b, where=finite & ~same, out=np.zeros_like(a))).max())
    largest = float(np.abs(b, where=finite, out=np.zeros_like(b)).max())
    if absolute == 0:
        return Errors()
    return Errors(absolute, absolute / largest if largest else np.inf)


def verify(actual: Run, expected: Run, inputs: Iterable[dict[str, np.ndarray]]) -> tuple[Errors, int]:
    """Run both on every set of inputs.

    Returns
    -------
    Errors, int
        The largest over all outputs and sets, and the number of sets.
    """
    errors, count = Errors(), 0
    for feeds in inputs:
        count += 1
        ours, theirs = actual(feeds), expected(feeds)
        if len(ours) != len(theirs):
            raise VerificationError(f"the compiled network has {len(ours)} outputs, the reference {len(theirs)}")
        for a, b in zip(ours, theirs, strict=True):
            errors |= compare_arrays(np.asarray(a), np.asarray(b))
    return errors, count
