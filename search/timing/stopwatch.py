"""Times of several things on a machine that other work disturbs: interleaved, each round held against a yardstick.

A virtual machine may run at half its speed for seconds. So a fixed small network, the yardstick, is timed at both ends of every round: a
round counts if it was about as fast as ever seen, or, where the machine does not become quiet in time, if it is among the quietest.
Within the rounds that count times are taken in yardsticks: what slows both alike makes no difference.
"""
from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...runner.bench.timed_module import TimedModule

QUIET_RATIO = 1.15  # times the fastest yardstick: what still counts as undisturbed
QUIET_ROUNDS = 7  # quiet ones that are waited for
WAIT_SECONDS, WAIT_PER_MODULE = 3.0, 0.25  # seconds to wait for them, and further ones for each thing to time
PAUSE_SECONDS = 0.05  # seconds after a disturbed round


@dataclass(frozen=True)
class Times:
    """Milliseconds of each thing, and of the yardstick in the rounds that counted."""

    ms: tuple[float, ...]
    yardstick: float

    def at(self, yardstick: float) -> tuple[float, ...]:
        """Milliseconds of each thing on a machine that takes so many for the yardstick."""
        return tuple(ms * yardstick / self.yardstick for ms in self.ms)


class Stopwatch:
    """Times modules against a yardstick.

    Parameters
    ----------
    yardstick : TimedModule
    fastest : float, optional
        Milliseconds of the yardstick, as seen before on this machine.
    """

    def __init__(self, yardstick: TimedModule, fastest: float | None = None) -> None:
        self._yardstick = yardstick
        self.fastest = min(fastest or np.inf, *(yardstick() for _ in range(3 * QUIET_ROUNDS)))

    def quiet(self) -> bool:
        """Whether the machine is undisturbed just now."""
        return max(self._yardstick() for _ in range(3)) <= QUIET_RATIO * self.fastest

    def time(self, modules: Sequence[TimedModule]) -> Times:
        """The median of each over the quiet rounds."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            rounds, sticks, worst = self._rounds(modules)
        finally:
            if collecting:
                gc.enable()
        counts: np.ndarray = worst <= QUIET_RATIO * self.fastest
        if counts.sum() < min(QUIET_ROUNDS, 3):
            counts = np.argsort(worst)[:QUIET_ROUNDS]
        yardstick = float(np.median(sticks[counts]))
        ratios = np.median(rounds[counts] / sticks[counts, None], axis=0)
        return Times(tuple(float(ratio) * yardstick for ratio in ratios), yardstick)

    def _rounds(self, modules: Sequence[TimedModule]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Milliseconds of each thing, the yardstick's mean and the worse of its two, round by round."""
        rounds: list[list[float]] = []
        sticks: list[tuple[float, float]] = []
        quiet, end = 0, time.perf_counter() + WAIT_SECONDS + WAIT_PER_MODULE * len(modules)
        while quiet < QUIET_ROUNDS and (time.perf_counter() < end or len(rounds) < QUIET_ROUNDS):
            before = self._yardstick()
            rounds.append([module() for module in modules])
            sticks.append((before, self._yardstick()))
            self.fastest = min(self.fastest, max(sticks[-1]))
            quiet = int((np.max(sticks, axis=1) <= QUIET_RATIO * self.fastest).sum())
            if max(sticks[-1]) > QUIET_RATIO * self.fastest:
                time.sleep(PAUSE_SECONDS)
        return np.array(rounds).reshape(len(rounds), -1), np.mean(sticks, axis=1), np.max(sticks, axis=1)
