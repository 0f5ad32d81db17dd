"""Results that took time, kept on disk as they come: a file of JSON lines, one result a line.

An interrupt, or a second process, loses nothing that was finished (`json_lines`). A line that is nothing that this code wrote is passed
over: what it says is found again.
"""
from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..support.cache_folder import cache_folder as cache_folder
from ..support.files.json_lines import append_line
from ..support.files.regular import read_regular

MAX_FILE_BYTES = 1 << 30  # bytes of a file of records
LATENCIES, SEARCHES, FINETUNED = "latencies", "searches", "finetuned"

Fields = Mapping[str, Any]


def is_number(value: Any, least: float = -math.inf) -> bool:
    """Whether a value of a record is a finite number of at least `least`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf and value > -math.inf


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
    is_sound : callable, optional
        Whether a record, which has all fields of the key, has values that can be used. Others are passed over.

    Raises
    ------
    TenfoldError
        If the file can't be read or, in `put`, written.
    """

    def __init__(
        self, path: str | os.PathLike[str], key: Sequence[str], shipped: Sequence[Path] = (), is_sound: Callable[[Fields], bool] = bool
    ) -> None:
        self.path = Path(path)
        self.key = tuple(key)
        self._records: dict[str, dict[str, Any]] = {}
        for source in (*shipped, self.path):
            for record in _read(source):
                if set(self.key) <= set(record) and is_sound(record):
                    self._records[self._text(record)] = record

    def get(self, key: Fields) -> dict[str, Any] | None:
        """The record with this key (further fields do not matter), None if there is none."""
        return self._records.get(self._text(key))

    def put(self, record: Fields) -> None:
        """Keep a record, key and all."""
        self._records[self._text(record)] = dict(record)
        append_line(self.path, json.dumps(record, sort_keys=True))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def _text(self, record: Fields) -> str:
        return json.dumps([record[name] for name in self.key], sort_keys=True)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if not os.path.lexists(path):
        return
    for line in read_regular(path, MAX_FILE_BYTES).decode(errors="replace").split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # cut short, or no line of ours
            continue
        if isinstance(record, dict):
            yield record
