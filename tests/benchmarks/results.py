"""The results of one run as JSON: written after every row, so that a run that is broken off has lost nothing but its last row."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tenfold.support.errors import TenfoldError
from tenfold.support.files.folder import write_text


@dataclass
class Results:
    """Rows of one suite, with what they have in common: the machine, versions of all engines, threads, and when it began."""

    suite: str
    machine: dict[str, Any]
    threads: int
    path: Path | None = None
    date: str = field(default_factory=lambda: now())
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Put a row in place of the one of that name, or at the end, and write the file."""
        row = {**row, "date": now()}
        names = [old["name"] for old in self.rows]
        if row["name"] in names:
            self.rows[names.index(row["name"])] = row
        else:
            self.rows.append(row)
        if self.path is not None:
            write_text(self.path, json.dumps(self.content(), indent=1) + "\n")

    def content(self) -> dict[str, Any]:
        """As it is in the file."""
        return {"suite": self.suite, "date": self.date, "machine": self.machine, "threads": self.threads, "rows": self.rows}

    def finished(self) -> set[str]:
        """Names of the rows that were measured: one that failed is not."""
        return {row["name"] for row in self.rows if "error" not in row}

    def resume(self) -> None:
        """Take over the rows of the file, if there is one.

        Raises
        ------
        TenfoldError
            It is of another suite, machine, versions or threads: what it holds can't stand beside what will be measured.
        """
        if self.path is None or not self.path.exists():
            return
        old = read(self.path)
        for key in ("suite", "machine", "threads"):
            if old[key] != self.content()[key]:
                raise TenfoldError(f"{self.path}: can't be resumed, its {key} differs: {old[key]}, now {self.content()[key]}")
        self.date, self.rows = old["date"], old["rows"]


def read(path: Path) -> dict[str, Any]:
    """The content of a file of results; TenfoldError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not {"suite", "date", "machine", "threads", "rows"} <= content.keys():
            raise ValueError("it lacks a field")
    except (OSError, ValueError, AttributeError) as error:
        raise TenfoldError(f"{path}: not a file of results: {error}") from None
    return content


def now() -> str:
    """UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
