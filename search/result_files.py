"""The files of a factored network, and what makes the files in a folder such a result of an earlier run: only such are replaced."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..factorization.plan import Plan
from ..runtime.manifest import sha256_of
from ..support.errors import TenfoldError
from ..support.files.folder import Kind
from ..support.files.json_text import read_json

MODEL, PLAN, REPORT = "model.onnx", "plan.json", "report.json"
CURVE, PICTURES = "pareto.json", ("pareto.png", "pareto.svg")


def write_report(folder: Path, report: str, made: dict[str, Any]) -> None:
    """Write a report: with the SHA-256 of the files that are in the folder by now, by which a later run sees whether they changed.

    Parameters
    ----------
    folder : Path
    report : str
        JSON.
    made : dict
        By what it was made (`made.made_by`).
    """
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    (folder / REPORT).write_text(json.dumps({**json.loads(report), "made": made, "files": files}, indent=2) + "\n", encoding="utf-8")


def fault(folder: Path) -> str | None:
    """Why a folder is no factored network with its report: a file that has been changed since, or is not of this report."""
    if not (folder / REPORT).exists():
        return f"there is no {REPORT}"
    try:
        report = read_json(folder / REPORT)
        if not isinstance(report, dict) or not isinstance(report.get("model"), str) or not isinstance(report.get("layers"), list):
            return f"{REPORT} is not one of Tenfold's"
        others = [path.name for path in folder.iterdir() if path.name in RESULT.names and path.name != REPORT]
        if "files" not in report:
            return _unsigned(folder, report, others)
        files = report["files"] if isinstance(report["files"], dict) else {}
        changed = [name for name in others if files.get(name) != sha256_of(folder / name)]
        return f"{changed[0]} was changed since" if changed else None
    except TenfoldError as error:
        return str(error)


def _unsigned(folder: Path, report: dict[str, Any], others: list[str]) -> str | None:
    """Of a report without hashes, as they once were: the fields must fit the files."""
    after = report.get("after")
    size = after.get("bytes") if isinstance(after, dict) else report.get("bytes")
    if MODEL in others and (folder / MODEL).stat().st_size != size:
        return f"{MODEL} is not the one of {REPORT}"
    if PLAN in others and Plan.read(folder / PLAN).model != report["model"]:
        return f"{PLAN} is not the one of {REPORT}"
    if CURVE in others and not (isinstance(curve := read_json(folder / CURVE), dict) and isinstance(curve.get("points"), list)):
        return f"{CURVE} is not one of Tenfold's"
    pictures = [name for name in PICTURES if name in others and CURVE not in others]
    return f"there is no {CURVE} to {pictures[0]}" if pictures else None


RESULT = Kind(REPORT, (MODEL, PLAN, REPORT, CURVE, *PICTURES), fault)
