"""Results that took time, kept on disk as they come: a file of JSON lines, one result a line.

A line is appended in a single write, so that an interrupt, or a second process, loses nothing that was finished; a line that a crash
cut short is passed over.
"""
from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TenfoldError

CACHE = "TENFOLD_CACHE"  # environment variable: the folder that everything below is kept in
TUNE_LOGS, SEARCHES = "tune_logs", "searches"

Fields = Mapping[str, Any]


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """`given`, or what the environment says: TENFOLD_CACHE, else ``tenfold`` in XDG_CACHE_HOME, else ~/.cache/tenfold."""
    chosen = given or os.environ.get(CACHE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenfold"


class Store:
    """Records by key.

    Parameters
    ----------
    path : path
        Made, with its folders, when the first record is put. A file that is there is read; of two records with one key the later counts.
    key : sequence of str
        The fields that make the key; every value is JSON.
    shipped : sequence of paths
        Files of the same form to begin with; they are only read.

    Raises
    ------
    TenfoldError
        If the file can't be read or, in `put`, written.
    """

    def __init__(self, path: str | os.PathLike[str], key: Sequence[str], shipped: Sequence[Path] = ()) -> None:
        self.path = Path(path)
        self.key = tuple(key)
        self._records: dict[str, dict[str, Any]] = {}
        for source in (*shipped, self.path):
            for record in _read(source):
                if set(self.key) <= set(record):
                    self._records[self._text(record)] = record

    def get(self, key: Fields) -> dict[str, Any] | None:
        """The record with this key (further fields do not matter), None if there is none."""
        return self._records.get(self._text(key))

    def put(self, record: Fields) -> None:
        """Keep a record, key and all."""
        self._records[self._text(record)] = dict(record)
        _append(self.path, json.dumps(record, sort_keys=True) + "\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def _text(self, record: Fields) -> str:
        return json.dumps([record[name] for name in self.key], sort_keys=True)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise TenfoldError(f"{path}: can't be read: {error.strerror}") from None
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # cut short
            continue
        if isinstance(record, dict):
            yield record


def _append(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END) and not _ends_line(file):
                line = "\n" + line
            file.write(line.encode())
    except OSError as error:
        raise TenfoldError(f"{path}: can't be written: {error.strerror}") from None


def _ends_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
