"""Medians of interleaved rounds."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

ROUNDS = 7
ROUND_MS = 8.0  # of one engine, at least
MOST_RUNS = 2000


def milliseconds(ways: Mapping[str, Callable[[int], float]]) -> dict[str, dict[str, float]]:
    """Time several ways to compute the same, in turn.

    Parameters
    ----------
    ways : mapping of str to callable
        Takes a number of runs, gives the milliseconds of all together.

    Returns
    -------
    dict
        For each way the ``median`` of a run, the ``least`` and the ``most`` of the rounds, and ``runs`` of a round.
    """
    runs = {}
    for name, way in ways.items():
        way(2)  # caches, clocks
        once = way(3) / 3
        runs[name] = max(1, min(MOST_RUNS, round(ROUND_MS / max(once, 1e-4))))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(way(runs[name]) / runs[name])
    return {name: {"median": median(each), "least": min(each), "most": max(each), "runs": runs[name]} for name, each in found.items()}
