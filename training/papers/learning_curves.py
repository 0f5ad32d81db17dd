"""Learning curves of several seeds, with their spread: Jin et al. (2015), figure 3."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...plots.canvas import save
from ..loop.curves import draw, read_csv
from ..run import CURVES
from .asked import Asked, Table
from .tables import trained

NETWORKS = {"Baseline": "jin_baseline", "Flattened": "jin_flattened"}
PICTURE = "jin-curves.png"


def curves_table(asked: Asked) -> dict[str, Any]:
    """Train what is not there, draw ``jin-curves.png`` in the folder of runs, and give the last accuracies."""
    runs = {
        title: [read_csv(trained(name, "cifar10", asked, seed=seed, moves=False) / CURVES) for seed in asked.seeds]
        for title, name in NETWORKS.items()
    }
    save(draw(runs), [asked.runs / PICTURE])
    rows = []
    for title, group in runs.items():
        last = [100 * rows[-1].test_accuracy for rows in group]
        figures = {"mean": float(np.mean(last)), "spread": float(np.std(last))}
        rows.append({"title": title, "runs": len(group), "epoch": group[0][-1].epoch, **figures})
    return {"table": "jin-curves", "source": "Jin et al. (2015), figure 3", "rows": rows}


def show(content: Mapping[str, Any]) -> Table:
    """Of `curves_table`."""
    rows = []
    for row in content["rows"]:
        rows.append([row["title"], str(row["runs"]), f"{row['epoch']:.0f}", f"{row['mean']:.2f} %", f"{row['spread']:.2f}"])
    return ["CIFAR-10", "seeds", "epochs", "test accuracy", "deviation"], rows


def note(content: Mapping[str, Any]) -> str:
    """Of `curves_table`."""
    return f"{content['source']}; the picture is {PICTURE}"
