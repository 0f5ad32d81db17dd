"""The time of one network on the machine that it runs on."""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SECONDS, RUNS, WARM_UP = 0.003, 3, 2  # of a burst: for so long, but at least so many runs, after some that are not timed
WARM_SECONDS = 0.02  # before runs that were counted out: threads wake up, weights come into the caches


def time_runs(run: Callable[[], Any], runs: int | None = None) -> list[float]:
    """Milliseconds of single calls, one after the other.

    Parameters
    ----------
    run : callable
    runs : int, optional
        How many. Default: a burst of some milliseconds.
    """
    count, end = 0, time.perf_counter() + (0.0 if runs is None else WARM_SECONDS)
    while count < WARM_UP or time.perf_counter() < end:
        run()
        count += 1
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < (RUNS if runs is None else runs) or (runs is None and time.perf_counter() < end):
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return times
