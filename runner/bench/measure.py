"""Latency: interleaved rounds, so that a machine that slows down does so for every engine alike."""
from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .disturbance import Load, Usage, cpus, usage

ROUNDS = 10
FEWEST_ROUNDS = 5  # that have to agree before a machine counts as stable
AGREE = 0.05  # spread of the medians of rounds that agree
DRIFT, SLOW, TAIL = 0.2, 1.5, 2.0  # spread, median over minimum and 90th percentile over median: from there on a user is warned
WARM_UP_RUNS, WARM_UP_SECONDS, WARM_UP_LIMIT = 3, 0.02, 1.0
QUIET_STEP, QUIET_STEPS, QUIET_SHARE, QUIET_LIMIT = 0.01, 2, 0.2, 1.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Elsewhere:
    """A candidate that runs on another machine, and is timed there.

    Attributes
    ----------
    times : callable
        Of a number of runs; the milliseconds of each.
    """

    times: Callable[[int], list[float]]

    def seconds(self, runs: int) -> list[float]:
        """Of so many runs. What warms the machine up is its own affair."""
        return [ms * 1e-3 for ms in self.times(runs)]


Candidate = Callable[[], object] | Elsewhere


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference.

    Attributes
    ----------
    median, p90, min : float
        Of all runs: the median, the 90th percentile, the fastest.
    runs : int
    spread : float
        How far the medians of single rounds lie apart: from their 10th to their 90th percentile, over their median.
    """

    median: float
    p90: float
    min: float
    runs: int
    spread: float = 0.0

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]]) -> Latency:
        """From the seconds of the runs of each round."""
        times = np.concatenate([np.asarray(each, float) for each in rounds]) * 1e3
        low, middle, high = np.percentile([np.median(each) for each in rounds], [10, 50, 90])
        figures = float(np.median(times)), float(np.percentile(times, 90)), float(times.min())
        return cls(*figures, len(times), float((high - low) / middle) if middle > 0 else 0.0)


@dataclass(frozen=True)
class Measurement:
    """What was measured, and what else the machine did meanwhile.

    Attributes
    ----------
    latencies : list of Latency
        Of each candidate.
    load : Load
    stable : bool or None
        Whether the machine became stable; None where that was not waited for.
    """

    latencies: list[Latency]
    load: Load
    stable: bool | None = None

    @property
    def warning(self) -> str | None:
        """Why the latencies are not to be trusted, in a few words; None if nothing speaks against them."""
        slow = max((each.median / each.min for each in self.latencies if each.min > 0), default=1.0)
        tail = max((each.p90 / each.median for each in self.latencies if each.median > 0), default=1.0)
        signs = [] if self.load.quiet else [str(self.load)]
        if slow > SLOW:
            signs.append(f"a median is {slow:.1f} times the fastest run")
        if tail > TAIL:
            signs.append(f"a tenth of the runs takes {tail:.1f} times the median or longer")
        if self.spread > (DRIFT if self.stable is None else AGREE):
            signs.append(f"medians of rounds lie {self.spread:.0%} apart")
        if self.stable is False:
            return f"the machine never became stable: {', '.join(signs)}"
        return f"the machine was disturbed: {', '.join(signs)}" if signs else None

    @property
    def disturbance(self) -> dict[str, Any]:
        """For JSON: the numbers of `load`, and ``spread``, ``stable`` and ``warning``."""
        return {**asdict(self.load), "spread": self.spread, "stable": self.stable, "warning": self.warning}

    @property
    def steady(self) -> bool:
        """Others took little, and the rounds agree."""
        return self.load.quiet and self.spread <= AGREE

    @property
    def spread(self) -> float:
        """The largest of all candidates."""
        return max((latency.spread for latency in self.latencies), default=0.0)


def measure(
    candidates: Sequence[Candidate], runs: int, rounds: int = ROUNDS, progress: Progress | None = None
) -> list[Latency]:
    """As `observe`; the latencies alone."""
    return observe(candidates, runs, rounds, progress).latencies


def observe(
    candidates: Sequence[Candidate],
    runs: int,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
    until_stable: float | None = None,
    read: Callable[[], Usage] | None = None,
) -> Measurement:
    """Time several functions against each other.

    In each round every candidate has a burst: it waits until the threads of the candidate before are asleep, warms up, and is timed
    call by call. The order is turned round from round to round.

    Parameters
    ----------
    candidates : sequence of callables, or of Elsewhere
    runs : int
        Timed calls of each.
    rounds : int
        At most so many bursts for each.
    progress : callable, optional
        Called with the bursts done and in all.
    until_stable : float, optional
        Seconds. Rounds go on until the last ones agree and others take little of the CPUs meanwhile, but not for longer than this. Those
        last rounds are what counts; where the machine never became stable, the ones that agreed most.
    read : callable, optional
        Gives the counters of the machine.
    """
    fewest = 1 if until_stable is None else FEWEST_ROUNDS
    race = _Race(candidates, runs, max(fewest, min(rounds, runs)), read or usage)
    collecting = gc.isenabled()
    gc.disable()
    try:
        return race.run(progress or (lambda done, total: None), until_stable)
    finally:
        if collecting:
            gc.enable()


class _Race:
    """Rounds of bursts: as many as were asked for, or a window of so many that moves on."""

    def __init__(self, candidates: Sequence[Candidate], runs: int, rounds: int, read: Callable[[], Usage]) -> None:
        self._candidates, self._runs, self._rounds, self._read = candidates, runs, rounds, read
        self._seconds: list[list[list[float]]] = []  # of each round, candidate and run
        self._marks = [read()]  # before each round, and after the last

    def run(self, progress: Progress, until_stable: float | None) -> Measurement:
        end = time.perf_counter() + (until_stable or 0.0)
        for _ in range(self._rounds):
            self._round(progress)
        best = self._window()
        if until_stable is None:
            return best
        while not best.steady and time.perf_counter() < end:
            self._round(progress)
            best = min(self._window(), best, key=lambda each: (not each.steady, each.spread))
        return Measurement(best.latencies, best.load, best.steady)

    def _round(self, progress: Progress) -> None:
        turn, count = len(self._seconds), len(self._candidates)
        burst = max(1, self._runs // self._rounds + (turn % self._rounds < self._runs % self._rounds))
        seconds: list[list[float]] = [[] for _ in self._candidates]
        for done, index in enumerate(range(count) if turn % 2 == 0 else range(count - 1, -1, -1), start=1):
            seconds[index] = _burst(self._candidates[index], burst)
            progress(turn * count + done, max(self._rounds, turn + 1) * count)
        self._seconds.append(seconds)
        self._marks.append(self._read())

    def _window(self) -> Measurement:
        """The last rounds."""
        rounds = self._seconds[-self._rounds :]
        load = Load.between(self._marks[-len(rounds) - 1], self._marks[-1], len(cpus()))
        return Measurement([Latency.of([each[index] for each in rounds]) for index in range(len(self._candidates))], load)


def _burst(candidate: Candidate, runs: int) -> list[float]:
    """Seconds of so many calls."""
    if isinstance(candidate, Elsewhere):
        return candidate.seconds(runs)
    wait_until_quiet()
    warm_up(candidate)
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        candidate()
        seconds.append(time.perf_counter() - begin)
    return seconds


def warm_up(candidate: Callable[[], object]) -> None:
    """Call it until its threads are awake, its code and weights in the caches; one run that takes a second is enough."""
    begin = time.perf_counter()
    for count in range(1, 1000):
        candidate()
        elapsed = time.perf_counter() - begin
        if elapsed >= WARM_UP_LIMIT or (count >= WARM_UP_RUNS and elapsed >= WARM_UP_SECONDS):
            return


def wait_until_quiet() -> None:
    """Wait until this process uses (nearly) no CPU.

    Thread pools go on spinning for up to 100 ms after the last run, on the very cores that the next engine needs.
    """
    deadline, quiet = time.perf_counter() + QUIET_LIMIT, 0
    while quiet < QUIET_STEPS and time.perf_counter() < deadline:
        begin, busy = time.perf_counter(), time.process_time()
        time.sleep(QUIET_STEP)
        quiet = quiet + 1 if time.process_time() - busy < QUIET_SHARE * (time.perf_counter() - begin) else 0
