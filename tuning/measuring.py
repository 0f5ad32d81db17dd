"""Candidates of one task held against each other on a device: in turns, bad ones only briefly.

    race    all of them with the incumbent, round by round; who is clearly behind drops out
    duel    two of them, until it is clear which is faster, or that it is not
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ..runner.devices.device import KERNELS, Device, Handle, Program
from ..support.errors import TenfoldError

# Rounds of a race, and how far behind the incumbent a candidate may be after them. Few repeats are enough to see what is far behind.
HALVINGS = ((1, 1.30), (2, 1.08), (4, 1.03))
DUEL_ROUNDS = 11
NOISE = 0.01        # of the latency: what is closer than this counts as equal
SURE = 10           # of the rounds of a duel that a winner is ahead in, at least: chance does that in 0.6 % of all cases


class Failed(TenfoldError):
    """One of the entrants could not be loaded, crashed, or hung.

    Attributes
    ----------
    number : int
        Which one.
    """

    def __init__(self, number: int, words: str) -> None:
        super().__init__(words)
        self.number = number


@dataclass(frozen=True)
class Standing:
    """How an entrant did.

    Attributes
    ----------
    ratio : float
        Its latency over the incumbent's: the median over the rounds that both ran in.
    rounds : int
        That it ran in.
    """

    ratio: float
    rounds: int


class Entrants:
    """Programs that are loaded on a device, the incumbent first.

    Parameters
    ----------
    device : Device
    programs : sequence of Program

    Raises
    ------
    Failed
        One can't be loaded.
    """

    def __init__(self, device: Device, programs: Sequence[Program]) -> None:
        self._device = device
        self._handles: list[Handle] = []
        for number, program in enumerate(programs):
            try:
                self._handles.append(device.load(program, KERNELS))
            except TenfoldError as error:
                raise Failed(number, str(error)) from None

    def time(self, number: int) -> float:
        """Milliseconds of one of them: the least of a burst, since what disturbs a run only makes it longer."""
        try:
            return min(self._device.time(self._handles[number]))
        except TenfoldError as error:
            raise Failed(number, str(error)) from None

    def drop(self) -> None:
        """Forget them."""
        for handle in self._handles:
            self._device.drop(handle)

    def __len__(self) -> int:
        return len(self._handles)


def race(entrants: Entrants) -> tuple[float, list[Standing]]:
    """Time entrants against the first of them, the incumbent.

    Returns
    -------
    float, list of Standing
        The incumbent's milliseconds, and how each did, itself included.
    """
    running = list(range(1, len(entrants)))
    ratios: list[list[float]] = [[] for _ in range(len(entrants))]
    own: list[float] = []
    entrants.time(0)  # the first burst of all pays for what the others find warm
    for rounds, limit in HALVINGS:
        for _ in range(rounds):
            own.append(entrants.time(0))
            for number in running:
                ratios[number].append(entrants.time(number) / own[-1])
        running = [number for number in running if median(ratios[number]) < limit]
        if not running and len(entrants) > 1:
            break
    standings = [Standing(1.0, len(own)), *(Standing(median(each), len(each)) for each in ratios[1:])]
    return median(own), standings


def duel(entrants: Entrants, one: int, other: int, rounds: int = DUEL_ROUNDS) -> float:
    """Return the latency of `other` over that of `one`: below 1 only if it is faster by more than noise, and in nearly all rounds."""
    ratios = []
    for turn in range(rounds):
        first, second = (one, other) if turn % 2 == 0 else (other, one)
        times = {first: entrants.time(first), second: entrants.time(second)}
        ratios.append(times[other] / times[one])
    ratio = median(ratios)
    return ratio if ratio < 1 - NOISE and sum(each < 1 for each in ratios) >= SURE * rounds / DUEL_ROUNDS else max(ratio, 1.0)
