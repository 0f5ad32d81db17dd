"""Is this network the one that was given? Judged output by output, against an engine that knows what it can't tell."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..support.errors import TenfoldError, VerificationError
from .near_ties import NearTies
from .tolerance import Tolerance
from .verify import Errors, Run, compare_arrays, compare_outputs

if TYPE_CHECKING:
    from ..frontends.reference import Reference

# A network that is nearer to float64 than the reference is as right as any in float32; but what a wrong stride or a lost bias does starts
# here, and no reference is that far off for good reasons.
FARTHEST = 1e-2


@dataclass(frozen=True)
class Verified:
    """What a judgement was based on.

    Attributes
    ----------
    reference : str
        What was run.
    inputs : int
        How many sets of them.
    errors : Errors
        The largest. Where the reference was not exact enough, against float64.
    tolerance : Tolerance
    notes : tuple of str
        What was accepted though it differs from the reference by more than the tolerance, and why.
    """

    reference: str
    inputs: int
    errors: Errors
    tolerance: Tolerance
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "reference": self.reference,
            "inputs": self.inputs,
            "max_abs_error": self.errors.absolute,
            "max_rel_error": self.errors.relative,
            "tolerance": self.tolerance.value,
            "tolerance_reason": self.tolerance.reason,
            "notes": list(self.notes),
        }


def judge(
    actual: Run,
    reference: Reference,
    inputs: Iterable[dict[str, np.ndarray]],
    outputs: Sequence[str],
    tolerance: Tolerance,
    what: str = "the compiled network",
) -> Verified:
    """Run both on every set of inputs, and accept what is right.

    An output is right if it differs from that of the reference by no more than the tolerance. Else float64 tells: of the operators behind
    the last layers, then of the whole model. The output is right if it is within the tolerance of that, or nearer to the latter than the
    reference with its last operators in float64. Whole numbers must be equal, but where the values that decide on them are a near tie.

    Parameters
    ----------
    actual : callable
        Of inputs by name; returns the outputs in order.
    reference : Reference
    inputs : iterable of dict
    outputs : sequence of str
        Names, for messages.
    tolerance : Tolerance
    what : str
        What messages call the network that is judged.

    Raises
    ------
    VerificationError
        An output is wrong; the message says which, by how much, and where.
    """
    errors, count = Errors(), 0
    notes: dict[int, str] = {}
    for feeds in inputs:
        count += 1
        ours, theirs = list(map(np.asarray, actual(feeds))), list(map(np.asarray, reference(feeds)))
        trial = _Trial(reference, feeds, tolerance, ours, theirs, what)
        for number, found in enumerate(compare_outputs(ours, theirs)):
            if not trial.is_right(number, found):
                accepted = trial.appeal(number, found)
                if accepted is None:
                    raise VerificationError(_refusal(outputs[number], what, reference.name, found, theirs[number], tolerance))
                found, note = accepted
                notes.setdefault(number, f"output {outputs[number]!r}: {note}")  # that of one set says enough
            errors |= found
    return Verified(reference.name, count, errors, tolerance, tuple(notes.values()))


@dataclass
class _Trial:
    """The outputs of both on one set of inputs."""

    reference: Reference
    feeds: dict[str, np.ndarray]
    tolerance: Tolerance
    ours: list[np.ndarray]
    theirs: list[np.ndarray]
    what: str
    _found: dict[str, tuple[str, list[np.ndarray]]] = field(default_factory=dict)

    def is_right(self, number: int, found: Errors) -> bool:
        return self.tolerance.accepts(found) if self._is_float(number) else found.absolute == 0

    def appeal(self, number: int, found: Errors) -> tuple[Errors, str] | None:
        """The errors that count instead of `found`, and why, or None where nothing speaks for the output."""
        if NearTies(self.reference, self.feeds, self.tolerance.value).explains(number, self.ours[number], self.theirs[number]):
            share = float((self.ours[number] != self.theirs[number]).mean())
            return Errors(), f"{share:.1e} of its elements differ, each where the values that decide on it are a near tie"
        return self._in_float64(number, found) if self._is_float(number) else None

    def _in_float64(self, number: int, found: Errors) -> tuple[Errors, str] | None:
        ours, excuse = self.ours[number], self.theirs[number]
        for way in (self.reference.tail_in_float64, self.reference.in_float64):
            name, exact = self._evaluated(way, number)
            if exact is None:
                continue
            mine, its = compare_arrays(ours, exact), compare_arrays(excuse, exact)
            # A tail in float64 has the errors of float32 from before it alone: what is not explained by these excuses nobody.
            nearer = way == self.reference.in_float64 and mine.relative <= min(its.relative, FARTHEST)
            if self.tolerance.accepts(mine) or nearer:
                off = compare_arrays(self.theirs[number], exact).relative
                return mine, f"{self.reference.name} itself is {off:.1e} off there, {self.what} {mine.relative:.1e} (by {name})"
            excuse = exact
        return None

    def _evaluated(self, way: Callable[..., tuple[str, list[np.ndarray]]], number: int) -> tuple[str, np.ndarray | None]:
        """The name and an output of a way to float64, evaluated once for all outputs; None where it does not exist."""
        if way.__name__ not in self._found:
            try:
                self._found[way.__name__] = way(self.feeds)
            except TenfoldError:  # the model has no such end, or an operator that can't be evaluated so
                self._found[way.__name__] = "", []
        name, outputs = self._found[way.__name__]
        fits = number < len(outputs) and outputs[number].shape == self.ours[number].shape and outputs[number].dtype.kind == "f"
        return name, outputs[number] if fits else None

    def _is_float(self, number: int) -> bool:
        return self.theirs[number].dtype.kind == "f" or self.theirs[number].dtype.name == "bfloat16"


def _refusal(output: str, what: str, reference: str, found: Errors, theirs: np.ndarray, tolerance: Tolerance) -> str:
    place = f": {found.place}" if found.place is not None else ""
    if theirs.dtype.kind in "iub":
        return f"output {output!r} of {what} differs from {reference} in {found.relative:.1e} of its elements{place}"
    spread = ""
    if found.relative <= tolerance.value and tolerance.rms is not None:
        spread = f", {found.rms:.1e} in the mean, where {tolerance.rms:.1e} are allowed"
    return (
        f"output {output!r} of {what} differs from {reference} by {found.relative:.1e} of its largest element"
        f" ({found.absolute:.1e} absolute{spread}, tolerance {tolerance.value:.1e}, {tolerance.reason}){place}"
    )
