"""The papers' tables beside what was trained here: as `examples/reproduce.py --json` writes them."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Table = tuple[list[str], list[list[str]]]  # headings, rows


def sections(folder: Path, markdown: Callable[[Table], str]) -> dict[str, str]:
    """Of every table that has results."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        listing, where = content["listing"], ""
        if content["table"] == "jin-speed" or any(row.get("ms") is not None for row in content["rows"]):
            machine = content["machine"]
            where = f"; times on {machine['cpu']}, {machine['physical_cores']} cores"
        table = markdown((listing["headings"], listing["rows"]))
        found[f"training-{content['table']}"] = f"{table}\n{listing['note']}{where}.\n"
    return found
