"""Times of a network on its GPU, by the GPU's own clock."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .context import Event, Memory, Stream
from .graph import BoundLaunch
from .machine import GpuMachine

WARM_UP = 3  # runs that are not timed
FLUSHED = 2  # a buffer of so many times the L2 cache is written, where that shall be cold
LEAST_FLUSHED = 64 << 20  # bytes, where the size of the cache is not known


@dataclass(frozen=True)
class GpuTimes:
    """Milliseconds of single runs.

    Attributes
    ----------
    kernels : list of float
        From the first kernel to the end of the last.
    calls : list of float
        With the copies of inputs to the GPU and of outputs back.
    """

    kernels: list[float]
    calls: list[float]


def time_network(machine: GpuMachine, arrays: Sequence[np.ndarray], runs: int, *, cold: bool = False) -> GpuTimes:
    """Time runs of a network, one after the other.

    Parameters
    ----------
    machine : GpuMachine
    arrays : sequence of ndarray
        Its inputs.
    runs : int
    cold : bool
        Drive everything out of the L2 cache before each run. Default: it holds what the run before left.
    """
    kept = [np.ascontiguousarray(array) for array in arrays]
    with machine.lock, machine.context.current():
        clock, results = _Clock(machine, cold), machine.results()

        def call() -> None:
            machine.copy_in(kept)
            clock.mark()
            machine.launch()
            clock.mark()
            machine.copy_out(results)

        times = [clock.time(call) for _ in range(WARM_UP + runs)][WARM_UP:]
    return GpuTimes([kernels for _, kernels, _ in times], [sum(parts) for parts in times])


def time_steps(machine: GpuMachine, arrays: Sequence[np.ndarray], runs: int, *, cold: bool = False) -> list[list[float]]:
    """Time each step of a network: for each run, milliseconds of the kernels of each step. They are launched one by one, not as a graph.

    Parameters
    ----------
    machine, arrays, runs, cold
        As of `time_network`; the cache is cold before the first step only.
    """
    kept = [np.ascontiguousarray(array) for array in arrays]
    with machine.lock, machine.context.current():
        machine.copy_in(kept)
        machine.launch()  # the ports are the network's own now
        clock = _Clock(machine, cold)

        def steps() -> None:
            for position, step in enumerate(machine.steps):
                if position:
                    clock.mark()
                _put(step, machine.stream)

        return [clock.time(steps) for _ in range(WARM_UP + runs)][WARM_UP:]


def _put(step: Sequence[BoundLaunch], stream: Stream) -> None:
    for launch in step:
        launch.into(stream)


class _Clock:
    """Marks in the stream of a network."""

    def __init__(self, machine: GpuMachine, cold: bool) -> None:
        self._machine, self._events = machine, [Event(machine.context)]
        self._marks = 0
        self._flush = Memory(machine.context, max(FLUSHED * machine.gpu.l2_bytes, LEAST_FLUSHED)) if cold else None

    def mark(self) -> None:
        """Put the next mark into the stream."""
        if self._marks == len(self._events):
            self._events.append(Event(self._machine.context))
        self._events[self._marks].record(self._machine.stream)
        self._marks += 1

    def time(self, put: Callable[[], None]) -> list[float]:
        """Milliseconds between the marks that are put into the stream, and one before and one behind."""
        stream = self._machine.stream
        if self._flush is not None:
            stream.fill(self._flush)
        self._marks = 0
        self.mark()
        put()
        self.mark()
        stream.wait()
        marks = self._events[: self._marks]
        return [later.since(earlier) for earlier, later in zip(marks, marks[1:], strict=False)]
