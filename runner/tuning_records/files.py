"""Where logs lie: ``tune_logs/<processor>/*.jsonl``, shipped with the package, in the user's cache, or in a folder that is named."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...support.cache_folder import cache_folder
from ...support.errors import TenfoldError
from ...support.files.regular import reason

TUNE_LOGS, SUFFIX = "tune_logs", ".jsonl"
SHIPPED = Path(__file__).parents[2] / TUNE_LOGS


def user_folder() -> Path:
    """Return the folder of the user's own logs."""
    return cache_folder() / TUNE_LOGS


def log_files(folder: Path, name: str | None = None) -> list[Path]:
    """List the logs in a folder of logs, in a fixed order.

    Parameters
    ----------
    folder : Path
        It has folders of processors with logs in them; or, where it has none, logs. Nothing is found in a folder that is not there.
    name : str, optional
        Only this processor's folder is looked into.

    Raises
    ------
    TenfoldError
        It can't be read, or is a file.
    """
    try:
        if not folder.exists():
            return []
        own = _logs(folder / name) if name is not None and (folder / name).is_dir() else []
        if own:
            return own
        within = [path for each in sorted(folder.iterdir()) if each.is_dir() for path in _logs(each)]
        if name is not None and within:  # of other processors only
            return []
        return within or _logs(folder)
    except OSError as error:
        raise TenfoldError(f"{folder}: can't be read: {reason(error)}") from None


def named_folder(given: str | os.PathLike[str]) -> Path:
    """Return a folder of logs that the user named; TenfoldError where it is not there."""
    folder = Path(given)
    if not folder.is_dir():
        what = "this is a file: name the folder of the logs" if folder.exists() else "there is no such folder"
        raise TenfoldError(f"{folder}: tuning logs can't be read: {what}")
    return folder


def _logs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))


@dataclass
class Skipped:
    """What was passed over while logs were read.

    Attributes
    ----------
    lines : int
        That are no records.
    first : str
        The first of them: file, line, and what is wrong; or the first file that can't be read.
    files : int
        That can't be read.
    torn : int
        Last lines that were not written to their end.
    """

    lines: int = 0
    first: str = ""
    files: int = 0
    torn: int = 0

    def line(self, path: Path, number: int, why: object) -> None:
        """Note a line that is no record, and why."""
        self.lines += 1
        self.first = self.first or f"{path}, line {number}: {why}"

    def file(self, why: object) -> None:
        """Note a file, or a folder, that can't be read, and why."""
        self.files += 1
        self.first = self.first or str(why)

    def note(self) -> str:
        """Say it in one line; empty where there is nothing to say. A torn line is nothing to worry about: its author was stopped."""
        counted = [(self.lines, "line"), (self.files, "file")]
        words = " and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counted if count)
        return f"tuning logs: {words} can't be used, and passed over; the first: {self.first}" if words else ""
