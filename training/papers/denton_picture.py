"""Accuracy over measured speed-up: Denton et al. (2014), figures 3 and 4."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...plots.canvas import panels, save

PANELS = {"3": "first layer, monochromatic", "4, left": "second layer, SVD", "4, right": "second layer, outer product"}


def write_picture(content: Mapping[str, Any], path: Path) -> None:
    """A panel for each figure, where something was timed."""
    rows = [row for row in content["rows"] if "speedup" in row]
    if not rows:
        return
    figure, axes = panels(len(PANELS))
    for panel, (name, title) in zip(axes, PANELS.items(), strict=True):
        found = sorted((row for row in rows if row["figure"] == name), key=lambda row: row["speedup"])
        for key, label in (("compressed", "as it is"), ("tuned", "layers above tuned")):
            panel.plot([row["speedup"] for row in found], [row[key] for row in found], marker="o", label=label)
        for row in found:
            panel.annotate(row["title"].split(", ", 2)[-1], (row["speedup"], row["tuned"]), fontsize="x-small")
        panel.axhline(content["dense"], color="grey", linestyle=":", linewidth=1)
        panel.set(title=title, xlabel="times faster", ylabel="accuracy, %")
        panel.legend(fontsize="small", loc="lower left")
    save(figure, [path])
