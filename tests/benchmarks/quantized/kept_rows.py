"""A file of results to which rows are added, and what it has already."""
from __future__ import annotations

import json
import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any


def content_of(path: Path, suite: str, threads: int) -> dict[str, Any]:
    """What the file will hold: this day and these versions, and the rows that were measured already."""
    versions = {name: metadata.version(name) for name in ("numpy", "onnxruntime")}
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {"suite": suite, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "threads": threads,
            "machine": {"architecture": platform.machine(), "versions": versions}, "rows": rows}
