"""What else the machine was doing meanwhile: cores taken by other processes, and by other virtual machines (steal)."""
from __future__ import annotations

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
IDLE, IOWAIT = 3, 4  # fields of the first line of /proc/stat, see proc(5)
FIELDS = 8  # those after it, of guests, are in `user` already


class Watch:
    """Counts from where it is made; `cores()` says how many cores others have had on average since."""

    def __init__(self) -> None:
        self.begin, self.busy, self.own = time.perf_counter(), _busy(), _own()

    def cores(self) -> float:
        """0 on a quiet machine; never below it."""
        others = _busy() - self.busy - (_own() - self.own)
        return max(0.0, others / (time.perf_counter() - self.begin))


def _busy() -> float:
    """Seconds in which the machine's cores were not idle, all cores together, with those stolen by the host."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1 : FIELDS + 1]]
    return (sum(fields) - fields[IDLE] - fields[IOWAIT]) / TICKS


def _own() -> float:
    """CPU seconds of this process and of the children that it has waited for."""
    return sum(os.times()[:4])
