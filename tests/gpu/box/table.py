"""The results as a table."""
from __future__ import annotations

from statistics import geometric_mean
from typing import Any

from .steps import STEPS, ratio

WAYS = {"graph": "Tenfold", "kernels": "kernels alone", "launches": "without a graph", "torch graph": "torch",
        "torch eager": "torch, eager"}


def table(content: dict[str, Any]) -> str:
    """All that was found, as text."""
    machine = content["machine"]
    lines = [", ".join(f"{name} {value}" for name, value in machine.items()), ""]
    for step in STEPS:
        rows = [row for row in content["rows"] if row["step"] == step]
        ended = content["steps"].get(step)
        if rows or ended:
            lines += _step(step, rows, ended or {"state": "not ended", "seconds": 0})
    return "\n".join(lines)


def _step(step: str, rows: list[dict[str, Any]], ended: dict[str, Any]) -> list[str]:
    failed = [row for row in rows if "error" in row]
    lines = [f"{step}: {ended['state']}, {len(rows)} rows, {len(failed)} failed, {ended['seconds']:.0f} s"]
    errors = [row["error_over_largest"] for row in rows if "error_over_largest" in row]
    if errors:
        lines.append(f"  largest error {max(errors):.1e} of the largest number of a result")
    lines += [f"  FAILED {row['name']}: {row['error']}" for row in failed]
    raced = [row for row in rows if "ms" in row]
    if raced:
        lines.append("  " + f"{'ms':44}" + "".join(f"{title:>17}" for title in WAYS.values()) + f"{'torch / Tenfold':>17}")
    for row in raced:
        cells = [f"{row['ms'][way]['median']:17.4f}" if way in row["ms"] else f"{'-':>17}" for way in WAYS]
        found = ratio(row)
        lines.append(f"  {row['name']:44}" + "".join(cells) + (f"{found:15.2f} x" if found else f"{'-':>17}"))
    ratios = [found for row in raced if (found := ratio(row))]
    if ratios:
        lines.append(f"  geometric mean {geometric_mean(ratios):.2f} x, ahead or level in {sum(r >= 1 for r in ratios)} of {len(ratios)}")
    return [*lines, ""]
