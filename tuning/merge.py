"""Several logs made one: a file for each processor, without doubles, in an order that makes changes easy to see."""
from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..runner.tuning_records.files import SUFFIX, log_files
from ..runner.tuning_records.record import NoRecord, Record
from ..schedules.space import SPACE_VERSION
from ..support.errors import TenfoldError
from ..support.files.json_lines import locked_file, read_lines
from ..support.files.regular import reason
from ..support.files.whole import whole_file


@dataclass
class MergeReport:
    """What a merge found and wrote.

    Attributes
    ----------
    written : dict of Path to int
        The files of the output that have changed, or are new, with how many records they have now.
    unchanged : list of Path
        Files of the output that had all of it already.
    sources : int
        Files that were read.
    records : int
        That all files of the output named here have together.
    repeated : int
        Records, of sources or of the output, that were left out for a newer measurement of the same thing.
    stale : int
        Records among `records` of another `SPACE_VERSION`: kept, but not used by this version.
    refused : int
        Lines of the sources that are no records.
    first_refused : str
        The first of them: file, line, and what is wrong.
    """

    written: dict[Path, int] = field(default_factory=dict)
    unchanged: list[Path] = field(default_factory=list)
    sources: int = 0
    records: int = 0
    repeated: int = 0
    stale: int = 0
    refused: int = 0
    first_refused: str = ""


def merge(sources: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> MergeReport:
    """Merge logs into a folder of logs.

    The output has one file for each processor and number of cores, ``<processor>/<model>-<cores>.jsonl``, as a tuner writes them. A file
    that is there is added to: its records stay, and so do its lines that are no records, at its end. Of several measurements of the same
    point by the same code on the same processor the newest stays.

    Parameters
    ----------
    sources : sequence of path
        Logs, and folders of logs. One may be the output itself.
    output : path
        A folder; made where it is not there.

    Raises
    ------
    TenfoldError
        A source is not there or can't be read; the output can't be written. Each file of the output is then as it was, or complete.
    """
    report = MergeReport()
    files = list(dict.fromkeys(path for source in sources for path in _logs(Path(source))))
    found: dict[Path, list[Record]] = {}
    for path in files:
        report.sources += 1
        records, strange = _read(path)
        report.refused += len(strange)
        if strange and not report.first_refused:
            number, _, why = strange[0]
            report.first_refused = f"{path}, line {number}: {why}"
        for record in records:
            found.setdefault(Path(output) / record.processor.name / record.processor.file_name(record.cores), []).append(record)
    for path, records in sorted(found.items()):
        _add(path, records, report)
    return report


def _logs(source: Path) -> list[Path]:
    if source.is_dir():
        files = log_files(source)
        if not files:
            raise TenfoldError(f"{source}: there are no tuning logs in it (*{SUFFIX})")
        return files
    return [source]


def _read(path: Path) -> tuple[list[Record], list[tuple[int, bytes, str]]]:
    """The records of a log, and the lines that are none: number, content, and why. A torn last line is neither."""
    records, strange = [], []
    for number, line in enumerate(read_lines(path).whole, 1):
        if line.strip():
            try:
                records.append(Record.of_line(line))
            except NoRecord as error:
                strange.append((number, line, str(error)))
    return records, strange


def _add(path: Path, records: list[Record], report: MergeReport) -> None:
    """Add records to a file of the output. Who appends to it meanwhile waits, and appends to the new file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with locked_file(path):
            try:
                before = path.read_bytes()
                own, strange = _read(path)
                kept = _newest([*own, *records])
                lines = [record.to_line().encode() for record in kept] + [line for _, line, _ in strange]
                content = b"".join(line + b"\n" for line in lines)
                if content != before:
                    with whole_file(path) as temporary, open(temporary, "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
            except BaseException:
                if is_new and path.stat().st_size == 0:
                    path.unlink()
                raise
    except OSError as error:
        raise TenfoldError(f"{path}: can't be written: {reason(error)}") from None
    report.records += len(kept)
    report.stale += sum(record.space != SPACE_VERSION for record in kept)
    report.repeated += len(_unlike(own) | _unlike(records)) - len(kept)
    if content == before:
        report.unchanged.append(path)
    else:
        report.written[path] = len(kept)


def _newest(records: Iterable[Record]) -> list[Record]:
    """Of each thing that was timed the newest record, in the order of workloads and points."""
    found: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (record.date, record.to_line())):
        found[record.identity] = record
    return sorted(found.values(), key=lambda record: (record.operator, record.workload, record.dtype, record.identity, record.date))


def _unlike(records: Iterable[Record]) -> set[str]:
    return {record.to_line() for record in records}
