"""What else the machine did while something was timed: CPUs taken by other processes, and by other virtual machines (steal)."""
from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
TICKS = os.sysconf("SC_CLK_TCK")
IDLE, IOWAIT, STEAL = 3, 4, 7  # numbers of a CPU's line in /proc/stat, see proc(5)
FIELDS = 8  # those after them, of guests, are in `user` already
QUIET = 0.05  # of the CPUs: what others may take on a quiet machine


@dataclass(frozen=True)
class Usage:
    """Counters at one instant, all in seconds but the last.

    Attributes
    ----------
    clock : float
    busy, stolen : float or None
        Of the CPUs that this process may use, all together: not idle, whoever had them; taken by the hypervisor (a part of `busy`). None
        where the system does not tell.
    own : float
        CPU time of this process, and of the children that it has waited for.
    switches : int
        How often one of its threads had to leave its CPU to another.
    """

    clock: float
    busy: float | None
    stolen: float | None
    own: float
    switches: int


def unknown() -> Usage:
    """What is known of a machine that is not this one."""
    return Usage(time.perf_counter(), None, None, 0.0, 0)


@dataclass(frozen=True)
class Load:
    """Between two instants.

    Attributes
    ----------
    seconds : float
    cpus : int
        That this process may use.
    others : float or None
        CPUs that others had on average, the hypervisor among them. None where the system does not tell.
    stolen : float or None
        CPUs that the hypervisor had.
    switches : float
        Involuntary context switches a second.
    """

    seconds: float
    cpus: int
    others: float | None
    stolen: float | None
    switches: float

    @classmethod
    def between(cls, begin: Usage, end: Usage, cpus: int) -> Load:
        """What the machine did between two readings."""
        seconds = max(end.clock - begin.clock, 1e-9)
        others: float | None = None
        stolen: float | None = None
        if begin.busy is not None and end.busy is not None and begin.stolen is not None and end.stolen is not None:
            others = max(0.0, end.busy - begin.busy - (end.own - begin.own)) / seconds
            stolen = max(0.0, end.stolen - begin.stolen) / seconds
        return cls(seconds, cpus, others, stolen, (end.switches - begin.switches) / seconds)

    @property
    def quiet(self) -> bool:
        """Whether others took little; so, too, where that is not known."""
        return self.others is None or self.others <= QUIET * self.cpus

    def __str__(self) -> str:
        """As in "others took 0.31 of 2 CPUs"."""
        if self.others is None:
            return "what others took of the CPUs is not known"
        stolen = f", {self.stolen:.2g} of them outside this virtual machine" if self.stolen and self.stolen > QUIET * self.cpus else ""
        return f"others took {self.others:.2g} of {self.cpus} CPUs{stolen}"


class Watch:
    """Counts from where it is made.

    Parameters
    ----------
    read : callable, optional
        Gives the counters.
    """

    def __init__(self, read: Callable[[], Usage] | None = None) -> None:
        self._read = read or usage
        self._begin = self._read()

    def load(self) -> Load:
        """Since then."""
        return Load.between(self._begin, self._read(), len(cpus()))


def usage() -> Usage:
    """The counters now."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    busy: float | None = None
    stolen: float | None = None
    try:
        busy, stolen = parse_stat(STAT.read_text(), cpus())
    except (OSError, ValueError):  # the system does not tell
        pass
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Usage(time.perf_counter(), busy, stolen, seconds, own.ru_nivcsw)


def cpus() -> Collection[int]:
    """Those that this process may use."""
    return os.sched_getaffinity(0)


def parse_stat(text: str, chosen: Collection[int]) -> tuple[float, float]:
    """Seconds in which some CPUs were busy, and in which they were stolen, all together, out of the text of /proc/stat.

    Raises
    ------
    ValueError
        It has no line for any of them.
    """
    names = {f"cpu{number}" for number in chosen}
    lines = [line.split() for line in text.splitlines()]
    rows = [[int(number) for number in line[1 : FIELDS + 1]] for line in lines if line and line[0] in names]
    if not rows:
        raise ValueError("no such CPUs")
    busy = sum(sum(row) - row[IDLE] - row[IOWAIT] for row in rows)
    return busy / TICKS, sum(row[STEAL] if len(row) > STEAL else 0 for row in rows) / TICKS
