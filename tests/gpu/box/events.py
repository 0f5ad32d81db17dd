"""Times by the GPU's own clock: everything that the box times of Tenfold goes through here."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenfold.runtime.cuda.context import Event
from tenfold.runtime.cuda.machine import GpuMachine


def timed(machine: GpuMachine, launch: Callable[[], Any]) -> Callable[[int], float]:
    """How many milliseconds so many launches take together, one behind the other."""

    def runs(count: int) -> float:
        with machine.lock, machine.context.current():
            begin, end = Event(machine.context), Event(machine.context)
            begin.record(machine.stream)
            for _ in range(count):
                launch()
            end.record(machine.stream)
            return end.since(begin)

    return runs
