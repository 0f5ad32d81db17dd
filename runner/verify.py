"""How far the arrays of two engines are apart, and where."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..support.errors import VerificationError

# Two correct float32 engines sum in different orders. A sum of n products then differs by about sqrt(n) * 2^-24 of its magnitude:
# 1e-5 for the 25088 inputs of VGG's first dense layer, and as much again over tens of layers. What a wrong stride, a lost bias or a bad
# index does starts at 1e-2. 1e-4 lies between.
TOLERANCE = 1e-4

Run = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Place:
    """An element of an output: the output's number, the element's index, and its two values."""

    output: int
    index: tuple[int, ...]
    actual: float
    expected: float

    def __str__(self) -> str:
        at = ", ".join(map(str, self.index))
        return f"at [{at}] it is {self.actual:.9g}, not {self.expected:.9g}"  # digits that tell float32 apart


@dataclass(frozen=True)
class Errors:
    """The largest differences over all outputs and inputs that were tried; see `compare_arrays`.

    Attributes
    ----------
    absolute, relative : float
    rms : float
        Root of the mean square of the differences, over the largest element of the reference; 0 for whole numbers.
    place : Place or None
        Of the largest relative difference.
    """

    absolute: float = 0.0
    relative: float = 0.0
    rms: float = field(default=0.0, compare=False)
    place: Place | None = field(default=None, compare=False)

    def __or__(self, other: Errors) -> Errors:
        worse = other if other.relative > self.relative else self
        return Errors(
            max(self.absolute, other.absolute), max(self.relative, other.relative), max(self.rms, other.rms), worse.place
        )


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
    if actual.shape != expected.shape or _kind(actual) != _kind(expected):
        raise VerificationError(
            f"the compiled network returns {actual.dtype}{list(actual.shape)}, the reference {expected.dtype}{list(expected.shape)}"
        )
    if actual.size == 0:
        return Errors()
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if _kind(actual) != "f":
        difference = np.abs(a - b)
        return Errors(float(difference.max()), float((difference > 0).mean()), place=_place(difference, a, b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    if not (same | finite).all():
        return Errors(np.inf, np.inf, np.inf, _place(~(same | finite), a, b))
    difference = np.abs(np.subtract(a, b, where=finite & ~same, out=np.zeros_like(a)))
    absolute = float(difference.max())
    if absolute == 0:
        return Errors()
    largest = float(np.abs(b, where=finite, out=np.zeros_like(b)).max())
    if not largest:
        return Errors(absolute, np.inf, np.inf, _place(difference, a, b))
    with np.errstate(over="ignore"):
        rms = float(np.sqrt(np.mean(np.square(difference / largest))))
    return Errors(absolute, absolute / largest, rms, _place(difference, a, b))


def _kind(array: np.ndarray) -> str:
    return "f" if array.dtype.name == "bfloat16" else array.dtype.kind  # which is no float to NumPy


def _place(difference: np.ndarray, a: np.ndarray, b: np.ndarray) -> Place | None:
    """Where `difference`, which is of the form of both, is largest."""
    if not difference.any():
        return None
    index = np.unravel_index(int(difference.argmax()), difference.shape)
    return Place(0, tuple(map(int, index)), float(a[index]), float(b[index]))


def compare_outputs(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> list[Errors]:
    """`compare_arrays` of each output.

    Raises
    ------
    VerificationError
        Their number differs, or the shape or kind of dtype of one.
    """
    if len(actual) != len(expected):
        raise VerificationError(f"the compiled network has {len(actual)} outputs, the reference {len(expected)}")
    found = []
    for number, (a, b) in enumerate(zip(actual, expected, strict=True)):
        errors = compare_arrays(np.asarray(a), np.asarray(b))
        found.append(errors if errors.place is None else replace(errors, place=replace(errors.place, output=number)))
    return found


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
        for found in compare_outputs(actual(feeds), expected(feeds)):
            errors |= found
    return errors, count
