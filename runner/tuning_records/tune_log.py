"""The log of one processor: records are appended, and the best ones are found again."""
from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...schedules.space import SPACE_VERSION
from ...support.errors import TenfoldWarning
from ...support.files.json_lines import append_line
from ...support.files.sole_user import sole_user
from . import files
from .index import Found, Index
from .processor import Processor
from .ranking import ranked
from .record import Record

if TYPE_CHECKING:
    from ...targets import Target
    from ..devices.device import Device


class TuneLog:
    """The log of one target on one processor. It is read once, when it is first asked for something, and again behind an `append`.

    Parameters
    ----------
    folder : path, optional
        A folder of logs, which is read and appended to. Default: that of the user's cache; what is shipped is read, too.
    target : Target
    device : Device, optional
        What runs code for the target.

    Attributes
    ----------
    processor : Processor
        Of the device.
    cores : int
    dtype : str
        Both of the target.
    file : Path
        What `append` writes to.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, target: Target, device: Device | None = None) -> None:
        self.processor, self.cores, self.dtype = Processor.of(target, device), target.cores, target.precision
        self._folders = [files.SHIPPED, files.user_folder()] if folder is None else [Path(folder)]
        self.file = self._folders[-1] / self.processor.name / self.processor.file_name(self.cores)
        self._index: Index | None = None
        self._best: dict[str, Found | None] = {}

    def append(self, record: Record) -> None:
        """Append a record, and wait until the disk has it.

        A record of another processor than the log's goes to the file of that processor.

        Raises
        ------
        TenfoldError
            It can't be written; the log is then as it was. A field has a value that no reader would take.
        """
        folder = self._folders[-1] / record.processor.name
        append_line(folder / record.processor.file_name(record.cores), record.to_line())
        self._index, self._best = None, {}

    def alone(self, purpose: str, waiting: Callable[[str], None] | None = None) -> contextlib.AbstractContextManager[None]:
        """Keep other tuners of this processor out of the log until the block ends; see `sole_user`. Readers are not kept out."""
        return sole_user(self.file.with_name(f"{self.file.name}.lock"), purpose, waiting)

    def best(self) -> dict[str, Record]:
        """Return the records to use, by workload; see `best_of`."""
        found = {workload: self.best_of(workload) for workload in self._own().workloads}
        return {workload: each.record for workload, each in found.items() if each is not None}

    def best_of(self, workload: str) -> Found | None:
        """Return the record to use for a workload: of exactly this processor, these cores, this dtype and this `SPACE_VERSION`.

        The best one, as of `ranked`, of those that are faster than the model's choice; None where there is none.
        """
        if workload not in self._best:
            self._best[workload] = self._choose(workload)
        return self._best[workload]

    def unused(self, workload: str) -> tuple[int, int]:
        """Count the records of a workload that `best_of` does not consider.

        Returns
        -------
        int, int
            Stale ones, of another `SPACE_VERSION`; those of another processor or of another number of cores.
        """
        records = [found.record for found in self._own().records(workload) if found.record.dtype == self.dtype]
        stale = sum(self._fits(record) and record.space != SPACE_VERSION for record in records)
        return stale, sum(not self._fits(record) for record in records)

    def hints(self) -> dict[str, list[Record]]:
        """Return records of other processors with this instruction set, or of other numbers of cores, by workload, the best ones first.

        They say where to search first, and no more: what is fast there may be slow here.
        """
        hints: dict[str, list[Record]] = {}
        wanted = self.processor.instruction_set, self.dtype, SPACE_VERSION
        for record in self.everywhere():
            same = (record.processor.instruction_set, record.dtype, record.space) == wanted
            if same and not self._fits(record) and record.ratio < 1:
                hints.setdefault(record.workload, []).append(record)
        return {workload: sorted(records, key=lambda record: record.ratio) for workload, records in hints.items()}

    def everywhere(self) -> Iterator[Record]:
        """Go through all records, of all processors and versions."""
        index = Index(self._folders)
        for workload in index.workloads:
            yield from (found.record for found in index.records(workload))
        if note := index.skipped.note():
            warnings.warn(note, TenfoldWarning, stacklevel=2)

    def problems(self) -> str:
        """Say in one line what was passed over until now: lines that are no records, files that can't be read. Empty for nothing."""
        return "" if self._index is None else self._index.skipped.note()

    def _choose(self, workload: str) -> Found | None:
        usable = (each for each in self._own().records(workload) if self._fits(each.record) and each.record.space == SPACE_VERSION)
        return next((each for each in ranked(usable) if each.record.ratio < 1), None)

    def _fits(self, record: Record) -> bool:
        return (record.processor, record.cores, record.dtype) == (self.processor, self.cores, self.dtype)

    def _own(self) -> Index:
        if self._index is None:
            self._index = Index(self._folders, self.processor.name)
        return self._index
