"""Latency: interleaved rounds, so that a machine that slows down does so for every engine alike."""
from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 10
WARM_UP_RUNS, WARM_UP_SECONDS, WARM_UP_LIMIT = 3, 0.02, 1.0
QUIET_STEP, QUIET_STEPS, QUIET_SHARE, QUIET_LIMIT = 0.01, 2, 0.2, 1.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference: the median, the 90th percentile and the fastest of `runs`."""

    median: float
    p90: float
    min: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        times = np.asarray(seconds) * 1e3
        return cls(float(np.median(times)), float(np.percentile(times, 90)), float(times.min()), len(times))


def measure(
    candidates: Sequence[Callable[[], object]], runs: int, rounds: int = ROUNDS, progress: Callable[[int, int], None] | None = None
) -> list[Latency]:
    """Time several functions against each other.

    In each round every candidate has a burst: it waits until the threads of the candidate before are asleep, warms up, and is timed
    call by call. The order is turned round from round to round.

    Parameters
    ----------
    candidates : sequence of callables
    runs : int
        Timed calls of each.
    rounds : int
        At most so many bursts for each.
    progress : callable, optional
        Called with the bursts done and in all.
    """
    rounds = min(rounds, runs)
    seconds: list[list[float]] = [[] for _ in candidates]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            burst = runs // rounds + (turn < runs % rounds)
            order = range(len(candidates)) if turn % 2 == 0 else range(len(candidates) - 1, -1, -1)
            for done, index in enumerate(order):
                wait_until_quiet()
                warm_up(candidates[index])
                for _ in range(burst):
                    begin = time.perf_counter()
                    candidates[index]()
                    seconds[index].append(time.perf_counter() - begin)
                if progress is not None:
                    progress(turn * len(candidates) + done + 1, rounds * len(candidates))
    finally:
        if collecting:
            gc.enable()
    return [Latency.of(times) for times in seconds]


def warm_up(candidate: Callable[[], object]) -> None:
    """Call it until its threads are awake, its code and weights in the caches; one run that takes a second is enough."""
    begin = time.perf_counter()
    for count in range(1, 1000):
        candidate()
        elapsed = time.perf_counter() - begin
        if elapsed >= WARM_UP_LIMIT or (count >= WARM_UP_RUNS and elapsed >= WARM_UP_SECONDS):
            return


def wait_until_quiet() -> None:
    """Wait until this process uses (nearly) no CPU: thread pools go on spinning for up to 100 ms after the last run, on the very
    cores that the next engine needs."""
    deadline, quiet = time.perf_counter() + QUIET_LIMIT, 0
    while quiet < QUIET_STEPS and time.perf_counter() < deadline:
        begin, busy = time.perf_counter(), time.process_time()
        time.sleep(QUIET_STEP)
        quiet = quiet + 1 if time.process_time() - busy < QUIET_SHARE * (time.perf_counter() - begin) else 0
