"""The records that compilations use, as points by workload, and what is said of them."""
from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ...support.errors import TenfoldWarning
from .files import named_folder
from .index import Found
from .tune_log import TuneLog

if TYPE_CHECKING:
    from ...schedules.space import Point
    from ...targets import Target
    from ..build import Built
    from ..devices.device import Device

# Which records to use: True for those that are shipped and the user's own, False for none, or a folder of logs.
TuneLogs: TypeAlias = bool | str | os.PathLike[str]


class Tuned(Mapping[str, "Point"]):
    """Points by workload: the best records of one processor. They are looked up when they are asked for.

    Parameters
    ----------
    logs : bool or path
        Which: the user's own and those that are shipped (True), none (False), or those in a folder.
    target : Target
    device : Device, optional
        What runs code for the target.

    Raises
    ------
    TenfoldError
        There is no such folder.
    """

    def __init__(self, logs: TuneLogs, target: Target, device: Device | None = None) -> None:
        folder = None if isinstance(logs, bool) else named_folder(logs)
        self._log = None if logs is False else TuneLog(folder, target, device)
        self._told: set[str] = set()

    def __getitem__(self, workload: str) -> Point:
        found = self._found(workload)
        if found is None:
            raise KeyError(workload)
        return found.record.choice

    def __iter__(self) -> Iterator[str]:
        return iter({} if self._log is None else self._log.best())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def digest(self) -> str:
        """A short hash of all points; empty where there are none."""
        points = dict(self)
        return hashlib.sha256(json.dumps(points, sort_keys=True).encode()).hexdigest()[:12] if points else ""

    def facts(self, built: Built) -> dict[str, Any]:
        """Return what a manifest says of the choices of a compilation, in its field ``tuning``."""
        kernels = {workload: {"by": origin} | self._facts(workload, origin) for workload, origin in built.origins.items()}
        others = 0 if self._log is None else sum(self._log.unused(workload)[1] for workload in built.origins)
        return {"kernels": kernels, "stale": dict(built.stale), "of_other_processors": others}

    def warn(self, built: Built) -> None:
        """Warn once of records that could not be used: out of another space, or no records at all."""
        if self._log is None:
            return
        if note := self._log.problems():
            self._warn("problems", note)
        stale = len(built.stale) + sum(self._log.unused(workload)[0] for workload in built.origins)
        if stale:
            which = "is" if stale == 1 else "are"
            self._warn("stale", f"tuning logs: {stale} record{'s' * (stale > 1)} {which} of other spaces of kernels than this version has,"
                                " and not used: tune again")

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            warnings.warn(text, TenfoldWarning, stacklevel=3)

    def _found(self, workload: str) -> Found | None:
        return None if self._log is None else self._log.best_of(workload)

    def _facts(self, workload: str, origin: str) -> dict[str, Any]:
        found = self._found(workload) if origin == "record" else None
        if found is None:
            return {}
        record = found.record
        log = f"shipped: {found.log.relative_to(found.folder)}" if found.is_shipped else str(found.log)
        return {"log": log, "how": record.how, "ms": record.ms, "base_ms": record.base_ms, "date": record.date}
