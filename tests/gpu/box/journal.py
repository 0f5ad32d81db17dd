"""The results as one JSON, written after every row: a run that is broken off goes on where it was."""
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

RESULTS = "results.json"
UNFINISHED = "the process died in it, or its time was over"


class Journal:
    """Rows, by step and name, and how each step ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"machine": {}, "steps": {}, "rows": []}
        if path.exists():
            self.content = json.loads(path.read_text())

    def forget_unfinished(self) -> None:
        """Drop rows that were broken off, so that they are tried again."""
        self.content["rows"] = [row for row in self.rows() if row.get("error") != UNFINISHED]
        self._write()

    def add(self, step: str, name: str, **row: Any) -> None:
        """Add a row."""
        self.content["rows"] = [old for old in self.rows() if (old["step"], old["name"]) != (step, name)]
        self.content["rows"].append({"step": step, "name": name, **row, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        self._write()

    def set(self, **facts: Any) -> None:
        """Add to what is known of the machine."""
        self.content["machine"].update(facts)
        self._write()

    def end_step(self, step: str, state: str, seconds: float) -> None:
        """Say how a step ended."""
        self.content["steps"][step] = {"state": state, "seconds": round(seconds, 1)}
        self._write()

    def rows(self, step: str | None = None) -> list[dict[str, Any]]:
        """The rows, of one step or of all."""
        return [row for row in self.content["rows"] if step in (None, row["step"])]

    def has(self, step: str, name: str) -> bool:
        """Whether a row is there, be it one that failed."""
        return any(row["name"] == name for row in self.rows(step))

    def _write(self) -> None:
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(self.content, indent=1) + "\n")
        new.replace(self.path)
