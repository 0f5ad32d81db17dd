"""What logs know, one row for each workload on each processor."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runner.tuning_records.files import named_folder
from ..runner.tuning_records.index import Found, Index
from ..runner.tuning_records.processor import Processor
from ..runner.tuning_records.ranking import ranked
from ..schedules.space import SPACE_VERSION


@dataclass(frozen=True)
class Row:
    """The records of one workload on one processor.

    Attributes
    ----------
    processor, instruction_set : str
        What the processor calls itself; as in a manifest.
    cores : int
    operator, workload, dtype : str
    choice : mapping
        Of the best record.
    ms, base_ms : float
        Of it, and of the model's choice in the same session.
    speedup : float
        How many times as fast as the model's choice it is; 1 or less: the model's choice is kept.
    how, date : str
        Of it.
    records : int
        How many there are, it included.
    stale : bool
        All are of another `SPACE_VERSION`: they are not used.
    log : Path
        The file that the best one is from.
    """

    processor: str
    instruction_set: str
    cores: int
    operator: str
    workload: str
    dtype: str
    choice: Mapping[str, Any]
    ms: float
    base_ms: float
    speedup: float
    how: str
    date: str
    records: int
    stale: bool
    log: Path


def show(folders: Sequence[str | os.PathLike[str]], workloads: Iterable[str] | None = None) -> tuple[list[Row], str]:
    """List what folders of logs know.

    Parameters
    ----------
    folders : sequence of path
    workloads : iterable of str, optional
        Of a network. Default: all.

    Returns
    -------
    list of Row, str
        Sorted by processor and workload; and what was passed over, in one line, empty for nothing.

    Raises
    ------
    TenfoldError
        A folder is not there.
    """
    index = Index([named_folder(folder) for folder in folders])
    wanted = index.workloads if workloads is None else dict.fromkeys(workloads)
    groups: dict[tuple[Processor, int, str, str], list[Found]] = {}
    for workload in wanted:
        for found in index.records(workload):
            record = found.record
            groups.setdefault((record.processor, record.cores, record.dtype, workload), []).append(found)
    rows = [_row(found) for found in groups.values()]
    rows.sort(key=lambda row: (row.processor, row.cores, row.operator, row.workload, row.dtype))
    return rows, index.skipped.note()


def _row(found: list[Found]) -> Row:
    current = [each for each in found if each.record.space == SPACE_VERSION]
    best = ranked(current or found)[0]
    record = best.record
    return Row(
        processor=record.processor.model,
        instruction_set=record.processor.instruction_set,
        cores=record.cores,
        operator=record.operator,
        workload=record.workload,
        dtype=record.dtype,
        choice=record.choice,
        ms=record.ms,
        base_ms=record.base_ms,
        speedup=record.base_ms / record.ms,
        how=record.how,
        date=record.date,
        records=len(found),
        stale=not current,
        log=best.log,
    )
