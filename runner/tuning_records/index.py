"""Logs by workload: what a line says is looked at when its workload is asked for, so that long logs cost a compilation no time."""
from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ...support.errors import TenfoldError
from ...support.files.json_lines import read_lines
from . import files
from .files import Skipped, log_files
from .record import NoRecord, Record

# How `Record.to_line` begins. What begins otherwise is parsed at once.
BEGIN = re.compile(rb'\{"operator": "[^"\\]*", "workload": "([^"\\]+)", "epilogue": ')


@dataclass(frozen=True)
class Found:
    """A record, and the file that it is from.

    Attributes
    ----------
    record : Record
    log : Path
    folder : Path
        The folder of logs in which that lies.
    """

    record: Record
    log: Path
    folder: Path

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the package."""
        return self.folder == files.SHIPPED


@dataclass(frozen=True)
class _Line:
    content: bytes
    number: int
    log: Path
    folder: Path


class Index:
    """The records of some folders of logs.

    Parameters
    ----------
    folders : collection of Path
    name : str, optional
        Only logs of this processor are read.

    Attributes
    ----------
    skipped : Skipped
        What was passed over up to now.
    """

    def __init__(self, folders: Collection[Path], name: str | None = None) -> None:
        self.skipped = Skipped()
        self._lines: dict[str, list[_Line]] = {}
        self._found: dict[str, list[Found]] = {}
        for folder in folders:
            try:
                for path in log_files(folder, name):
                    self._read(path, folder)
            except TenfoldError as error:
                self.skipped.file(error)

    @property
    def workloads(self) -> list[str]:
        """All workloads that there are lines of."""
        return list(self._lines)

    def records(self, workload: str) -> list[Found]:
        """The records of a workload, in the order of folders, files and lines."""
        if workload not in self._found:
            parsed = (self._parse(line) for line in self._lines.get(workload, ()))
            self._found[workload] = [Found(record, line.log, line.folder) for record, line in parsed if record is not None]
        return self._found[workload]

    def _read(self, path: Path, folder: Path) -> None:
        try:
            lines = read_lines(path)
        except TenfoldError as error:
            self.skipped.file(error)
            return
        self.skipped.torn += bool(lines.torn)
        for number, content in enumerate(lines.whole, 1):
            workload = _workload(content)
            line = _Line(content, number, path, folder)
            if workload is None and content.strip():
                record = self._parse(line)[0]
                workload = None if record is None else record.workload
            if workload is not None:
                self._lines.setdefault(workload, []).append(line)

    def _parse(self, line: _Line) -> tuple[Record | None, _Line]:
        try:
            return Record.of_line(line.content), line
        except NoRecord as error:
            self.skipped.line(line.log, line.number, error)
            return None, line


def _workload(content: bytes) -> str | None:
    """What a line says of its workload, where it begins as ours do."""
    begin = BEGIN.match(content)
    try:
        return begin and begin[1].decode()
    except UnicodeDecodeError:
        return None
