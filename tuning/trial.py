"""One batch of trials: candidates of a task are built, and measured on a device beside the fastest one known."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from ..runner.data import random_inputs
from ..runner.devices.device import NETWORK, Device, Program
from ..support.errors import TenfoldError
from .candidates import Candidate
from .measuring import NOISE, Entrants, Failed, duel, race

AGREES = 1e-3  # largest difference of two candidates' results, over the largest element: they add up in other orders
INCUMBENT = 0
DUELS = 3       # of a batch, at most: with many, one is won by chance


class DeviceGone(TenfoldError):
    """A device does not even run the incumbent any more."""


@dataclass
class Outcome:
    """What a batch found.

    Attributes
    ----------
    ms : float
        Milliseconds of the incumbent.
    ratios : dict of Candidate to float
        Latencies over the incumbent's, of those that were measured.
    failed : dict of Candidate to str
        Why others were not, though they were built.
    unbuilt : dict of Candidate to str
        Why others could not be built.
    winner : Candidate, optional
        Faster than the incumbent beyond noise, with the same results.
    """

    ms: float = inf
    ratios: dict[Candidate, float] = field(default_factory=dict)
    failed: dict[Candidate, str] = field(default_factory=dict)
    unbuilt: dict[Candidate, str] = field(default_factory=dict)
    winner: Candidate | None = None


def measure(device: Device, incumbent: Program, programs: Sequence[tuple[Candidate, Program]]) -> Outcome:
    """Measure candidates on a device beside the incumbent.

    A candidate that crashes or hangs is left out, and the others are measured again.

    Raises
    ------
    DeviceGone
        The incumbent does not run.
    """
    outcome, left = Outcome(), list(programs)
    while True:
        try:
            entrants = Entrants(device, [incumbent, *(program for _, program in left)])
            try:
                _compete(device, entrants, incumbent, left, outcome)
            finally:
                entrants.drop()
            return outcome
        except Failed as error:
            if error.number == INCUMBENT:
                raise DeviceGone(str(error)) from None
            candidate, _ = left.pop(error.number - 1)
            outcome.failed[candidate] = str(error)


def _compete(device: Device, entrants: Entrants, incumbent: Program, left: list[tuple[Candidate, Program]], outcome: Outcome) -> None:
    ms, standings = race(entrants)
    ratios = {candidate: standing.ratio for (candidate, _), standing in zip(left, standings[1:], strict=True)}
    outcome.winner = None
    order = sorted(enumerate(left, 1), key=lambda entry: ratios[entry[1][0]])
    for number, (candidate, program) in order[:DUELS]:
        if ratios[candidate] >= 1 - NOISE:
            break
        # The best of many was lucky, too: a duel says what it takes.
        ratios[candidate] = duel(entrants, INCUMBENT, number)
        if ratios[candidate] < 1:
            why = _difference(device, incumbent, program)
            if why is None:
                outcome.winner = candidate
                break
            outcome.failed[candidate] = why
    outcome.ms = ms
    outcome.ratios = {candidate: ratio for candidate, ratio in ratios.items() if candidate not in outcome.failed}


def _difference(device: Device, one: Program, other: Program) -> str | None:
    """What two programs give, where it is not the same; None where it is."""
    inputs = random_inputs(one.inputs)
    results = []
    for number, program in enumerate((one, other)):
        try:
            handle = device.load(program, NETWORK)
            try:
                results.append(list(device.run(handle, inputs).values()))
            finally:
                device.drop(handle)
        except TenfoldError as error:
            raise Failed(number, str(error)) from None
    for expected, found in zip(*results, strict=True):
        largest = float(np.abs(expected).max(initial=0.0))
        difference = float(np.abs(expected - found).max(initial=0.0))
        if not difference <= AGREES * largest:
            return f"its results differ from the model's choice by {difference:.1e}, of {largest:.1e}"
    return None
