"""One row of a benchmark: a few models in Tenfold and in every rival, all interleaved in one run."""
from __future__ import annotations

import functools
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import errors_of
from peak import measure_peak
from suite import Case
from tenfold.runner.bench.disturbance import Watch
from tenfold.runner.bench.engines import ENGINES
from tenfold.runner.bench.entries import Entries, open_entries
from tenfold.runner.bench.measure import ROUNDS, WARM_UP_RUNS, measure
from tenfold.runner.bench.profile import profile
from tenfold.runner.data import random_inputs
from tenfold.targets import resolve

OURS = "tenfold"
PEAK_SECONDS = 0.3
FEWEST_RUNS, FEWEST_ROUNDS = 4, 2
SLOW = 0.5  # seconds
QUIET = 0.1  # cores taken by others meanwhile; with more, a row is measured again
ATTEMPTS = 3  # as long as they fit into so many times the seconds of a row


@dataclass(frozen=True)
class Race:
    """How a row is measured: against whom, on how many threads, at most so many runs in about so many seconds."""

    rivals: Sequence[str]
    threads: int
    runs: int
    seconds: float

    def run(self, case: Case) -> dict[str, Any]:
        """Measure one row, again if the machine was not quiet meanwhile; the least disturbed attempt counts."""
        with tempfile.TemporaryDirectory(prefix="tenfold-bench-") as folder:
            files = {}
            for label, write in case.models.items():
                (Path(folder) / label).mkdir()
                files[label] = write(Path(folder) / label)
            engines = [ENGINES[name] for name in self.rivals]
            opened = open_entries(list(files.values()), engines, Path(folder), self.threads, "host", {}, None, lambda *step: None)
            others, peak, times = self._quietest(opened)
            alone = {label: self._alone(opened, path) for label, path in files.items()}
            first = next(iter(files.values()))
            errors = {} if case.one_image is None else {"errors": errors_of(opened, first, case.one_image(Path(folder)))}
        models = {label: figures(times[str(path)], alone[label], macs_of(opened, path), peak) for label, path in files.items()}
        labels = {str(path): label for label, path in files.items()}
        skipped = [[labels[path], engine, reason] for path, engine, reason in opened.skipped]
        measured = {"peak_gflops": peak, "cores_of_others": others, "models": models, **errors, "skipped": skipped}
        row = {"name": case.name, "lists": list(case.lists), **case.facts, **measured, **compared(case, models)}
        del opened
        gc.collect()  # engines hold each other in cycles, and some of them gigabytes
        return row

    def _quietest(self, opened: Entries) -> tuple[float, float, dict[str, dict[str, Any]]]:
        """The least disturbed of as many attempts as it takes, and as there is time for."""
        end = time.perf_counter() + ATTEMPTS * self.seconds
        attempts = [self._attempt(opened)]
        while min(others for others, _, _ in attempts) > QUIET and time.perf_counter() < end:
            attempts.append(self._attempt(opened))
        return min(attempts, key=lambda attempt: attempt[0])

    def _attempt(self, opened: Entries) -> tuple[float, float, dict[str, dict[str, Any]]]:
        """Cores that others took meanwhile, the machine's peak (measured before and after, the higher of the two), latencies."""
        bits, watch = resolve("host").vector_bits, Watch()
        before = measure_peak(self.threads, bits, PEAK_SECONDS)
        times = self._times(opened)
        return watch.load().others or 0.0, max(before, measure_peak(self.threads, bits, PEAK_SECONDS)), times

    def _times(self, opened: Entries) -> dict[str, dict[str, Any]]:
        """Latencies by file and engine."""
        feeds = {one.model: random_inputs(one.inputs) for one in opened.entries}
        calls = [functools.partial(one.engine.run, feeds[one.model]) for one in opened.entries]
        runs, rounds = self.plan(calls)
        times: dict[str, dict[str, Any]] = {one.model: {} for one in opened.entries}
        for one, latency in zip(opened.entries, measure(calls, runs, rounds), strict=True):
            times[one.model][one.engine_name] = latency
        return times

    def _alone(self, opened: Entries, path: Path) -> float:
        """Milliseconds of the kernels that compute the layers of one of our networks: a call less what brings values in and out."""
        ours = next(one for one in opened.entries if one.model == str(path) and one.engine_name == OURS)
        feeds = random_inputs(ours.inputs)
        runs = max(FEWEST_RUNS, min(self.runs, int(self.seconds / 8 / _seconds(functools.partial(ours.engine.run, feeds)))))
        return sum(kernel.ms for kernel in profile(ours.engine.artifact, feeds, runs).kernels if kernel.layers)

    def plan(self, calls: Sequence[Callable[[], object]]) -> tuple[int, int]:
        """Runs of each call and rounds, so that warm-up and runs together take about the seconds that there are."""
        total = sum(map(_seconds, calls))
        rounds = int(self.seconds / 2 / (WARM_UP_RUNS * total))
        rounds = max(FEWEST_ROUNDS, min(ROUNDS, rounds))
        runs = int(self.seconds / 2 / total)
        return max(FEWEST_RUNS, min(self.runs, runs)), rounds


def _seconds(call: Callable[[], object]) -> float:
    """Of one call; of the second one, unless the first is so slow that waking up is no part of it."""
    for _ in range(2):
        begin = time.perf_counter()
        call()
        seconds = time.perf_counter() - begin
        if seconds > SLOW:
            break
    return seconds


def macs_of(opened: Entries, path: Path) -> int:
    """Multiply-accumulates of one run, as Tenfold counts them."""
    return next(one.macs for one in opened.entries if one.model == str(path))


def figures(latencies: dict[str, Any], kernels_ms: float, macs: int, peak: float) -> dict[str, Any]:
    """What a row says of one model.

    Parameters
    ----------
    latencies : dict of str to Latency
        By engine.
    kernels_ms : float
        Of our kernels that compute layers.
    macs : int
        Of one run of the whole batch.
    peak : float
        GFLOP/s of the machine.
    """
    medians = {name: latency.median for name, latency in latencies.items()}
    gflops = 2 * macs / medians[OURS] / 1e6
    found = {"macs": macs, "runs": latencies[OURS].runs, "ms": medians,
             "p90_ms": {name: latency.p90 for name, latency in latencies.items()},
             "min_ms": {name: latency.min for name, latency in latencies.items()},
             "gflops": gflops, "share_of_peak": gflops / peak, "kernels_ms": kernels_ms,
             "kernels_share_of_peak": 2 * macs / kernels_ms / 1e6 / peak, "best_rival": None, "ratio": None}
    rivals = [name for name in medians if name != OURS]
    if rivals:
        best = min(rivals, key=medians.__getitem__)
        found |= {"best_rival": best, "ratio": medians[best] / medians[OURS]}
    return found


def compared(case: Case, models: dict[str, Any]) -> dict[str, Any]:
    """A factored subject against the dense model: how many times faster than ours, than the best rival's, and of what was promised."""
    subject = models[next(iter(models))]
    dense = models.get("dense")
    if dense is None or dense is subject:
        return {}
    speedups = {name: dense["ms"][name] / ms for name, ms in subject["ms"].items() if name in dense["ms"]}
    found: dict[str, Any] = {"speedup": speedups}
    if dense["best_rival"] is not None:
        found["against_dense_rival"] = dense["ms"][dense["best_rival"]] / subject["ms"][OURS]
    if "promise" in case.facts:
        found["share_of_promise"] = speedups[OURS] / case.facts["promise"]
    return found
