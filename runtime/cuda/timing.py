"""Times of a network on its GPU, by the GPU's own clock."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .context import Context, Event, Memory, Stream
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
        clock, results = _clock(machine, cold), machine.results()

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
        clock = _clock(machine, cold)

        def steps() -> None:
            for position, step in enumerate(machine.steps):
                if position:
                    clock.mark()
                _put(step, machine.stream)

        return [clock.time(steps) for _ in range(WARM_UP + runs)][WARM_UP:]


def time_calls(context: Context, stream: Stream, call: Callable[[], Any], runs: int) -> list[float]:
    """Time what anybody puts into a stream: milliseconds of single calls, one after the other.

    Parameters
    ----------
    context : Context
    stream : Stream
    call : callable
        Puts the work of one run there, or waits for it itself.
    runs : int
    """
    with context.current():
        clock = _Clock(context, stream)
        return [clock.time(call)[0] for _ in range(WARM_UP + runs)][WARM_UP:]


def _put(step: Sequence[BoundLaunch], stream: Stream) -> None:
    for launch in step:
        launch.into(stream)


def _clock(machine: GpuMachine, cold: bool) -> _Clock:
    return _Clock(machine.context, machine.stream, max(FLUSHED * machine.gpu.l2_bytes, LEAST_FLUSHED) if cold else 0)


class _Clock:
    """Marks in a stream, behind so many bytes that are written first."""

    def __init__(self, context: Context, stream: Stream, flushed: int = 0) -> None:
        self._context, self._stream = context, stream
        self._events: list[Event] = []
        self._marks = 0
        self._flush = Memory(context, flushed) if flushed else None

    def mark(self) -> None:
        """Put the next mark into the stream."""
        if self._marks == len(self._events):
            self._events.append(Event(self._context))
        self._events[self._marks].record(self._stream)
        self._marks += 1

    def time(self, put: Callable[[], None]) -> list[float]:
        """Milliseconds between the marks that are put into the stream, and one before and one behind."""
        if self._flush is not None:
            self._stream.fill(self._flush)
        self._marks = 0
        self.mark()
        put()
        self.mark()
        self._stream.wait()
        marks = self._events[: self._marks]
        return [later.since(earlier) for earlier, later in zip(marks, marks[1:], strict=False)]
