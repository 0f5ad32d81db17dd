"""A compiled module in memory and its time: on this machine, or, where a session serves it, on the device."""
from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.loaded_network import Machine
from ...runtime.manifest import LIBRARY, WEIGHTS
from ...runtime.weights import map_weights
from ..data import Spec, random_inputs

SECONDS, RUNS, WARM_UP = 0.003, 3, 2  # of one burst: for so long, but at least so many runs, after some that are not timed
KERNELS, NETWORK = "kernels", "network"  # what can be timed

Burst = Callable[[], float]


def load_burst(folder: Path, inputs: Sequence[Spec], kernels: Collection[str], threads: int, part: str) -> Burst:
    """A function that runs a module a few times, on random inputs, and returns the median in milliseconds.

    Parameters
    ----------
    folder : Path
        With the module's library and weights. Both stay mapped when it is removed.
    inputs : sequence of Spec
    kernels : collection of str
        The functions that count as kernels.
    threads : int
    part : str
        ``network``: the whole call; ``kernels``: without what a call takes besides its kernels.

    Raises
    ------
    TenfoldError
        The files can't be loaded.
    """
    contents = map_weights(folder / WEIGHTS)
    machine = Machine(folder / LIBRARY, contents, [(tuple(spec.shape), spec.dtype) for spec in inputs], threads)
    arrays = list(random_inputs(inputs).values())
    if part == NETWORK:
        return _burst(lambda: machine(arrays), machine)
    calls = [(function, args) for name, function, args in machine.record(arrays) if name in kernels]

    def run() -> None:
        for function, args in calls:
            function(*args)

    return _burst(run, (machine, arrays))


def _burst(run: Callable[[], Any], memory: Any) -> Burst:
    """`memory` is what the run holds by address only."""

    def burst() -> float:
        for _ in range(WARM_UP):
            run()
        times, end = [], time.perf_counter() + SECONDS
        while len(times) < RUNS or time.perf_counter() < end:
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        return float(np.median(times)) * 1e3

    burst.memory = memory  # type: ignore[attr-defined]
    return burst
