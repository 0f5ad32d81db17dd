"""The machine itself through a process of its own: code that crashes or hangs costs that process only."""
from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ...runtime.requirements import lacking
from .device import HERE
from .line_device import CHILD, LineDevice

LIMIT = 30.0  # seconds for an answer


class Isolated(LineDevice):
    """The machine's CPU. What a process has loaded is gone when it has ended.

    Parameters
    ----------
    limit : float
        Seconds for an answer, after which the process is ended.
    """

    is_real = True

    def __init__(self, limit: float = LIMIT) -> None:
        super().__init__(HERE, limit)

    def describe(self) -> str:
        return self.name

    def check(self, target: Mapping[str, Any]) -> str | None:
        return lacking(target)

    def command(self) -> list[str]:
        return [sys.executable, "-c", CHILD.format(module=f"{__package__}.child"), json.dumps(sys.path)]
