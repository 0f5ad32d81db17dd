"""Where the time of a long piece of work went: seconds by phase, each without those of the phases within it.

    with recording() as phases:
        with phase("timing candidates"):
            ...
    phases.seconds       {"timing candidates": 12.5}
"""
from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar


class Phases:
    """A stopwatch for each phase, of which the innermost runs.

    Attributes
    ----------
    seconds : dict of str to float
        By phase, in the order in which they first began; what is in none of them is not counted.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block as this phase."""
        self._turn()
        self.seconds.setdefault(name, 0.0)
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def _turn(self) -> None:
        """Count what passed since the last turn to the phase that ran."""
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


_recorded: ContextVar[Phases | None] = ContextVar("recorded", default=None)


@contextlib.contextmanager
def recording() -> Iterator[Phases]:
    """Record the phases of a block."""
    token = _recorded.set(phases := Phases())
    try:
        yield phases
    finally:
        _recorded.reset(token)


def phase(name: str) -> contextlib.AbstractContextManager[None]:
    """Count a block as a phase of what is recorded, if anything is."""
    phases = _recorded.get()
    return contextlib.nullcontext() if phases is None else phases.phase(name)
