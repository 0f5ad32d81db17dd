"""The papers' tables beside what was trained here (`examples/reproduce.py`)."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Table = tuple[list[str], list[list[str]]]  # headings, rows
SETS = {"cifar10": "CIFAR-10", "mnist": "MNIST"}


def networks(content: dict[str, Any], markdown: Callable[[Table], str]) -> str:
    """A table of networks."""
    headings = ["", "the paper", "here", "epochs here", "parameters", "MACs", "ms"]
    rows = []
    for row in content["rows"]:
        shortened = "" if row["step"] == row["recipe_steps"] else f" of {row['epoch'] * row['recipe_steps'] / row['step']:.0f}"
        rows.append([f"{SETS[row['data']]}: {row['title']}", _paper(row), f"{row['accuracy']:.2f} %",
                     f"{row['epoch']:.0f}{shortened}", f"{row['parameters']:,}", f"{row['macs'] / 1e6:.1f} M",
                     "-" if row["ms"] is None else f"{row['ms']:.3f}"])
    return markdown((headings, rows)) + f"\n{content['source']}; one run each; {_where(content)}.\n"


def precisions(content: dict[str, Any], markdown: Callable[[Table], str]) -> str:
    """Accuracy by energy and bits."""
    bits = list(content["rows"][0]["accuracy"])
    rows = []
    for row in content["rows"]:
        kept = "dense" if row["energy"] == 1 else f"{row['energy']:.0%}"
        rows.append([kept, f"{row['macs'] / 1e6:.1f} M", f"{row['parameters']:,}", *(f"{row['accuracy'][each]:.2f}" for each in bits)])
    headings = ["energy kept", "MACs", "weights", *(f"{each} bits" for each in bits)]
    network = f"`{content['network']}` after {content['epoch']:.0f} epochs, {content['images']:,} test images, accuracy in percent"
    return markdown((headings, rows)) + f"\n{content['source']}; {network}; bits of the mantissa of weights and biases.\n"


def sections(folder: Path, markdown: Callable[[Table], str]) -> dict[str, str]:
    """Of every table that has results."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        write = precisions if content["table"] == "krivov" else networks
        found[f"training-{content['table']}"] = write(content, markdown)
    return found


def _paper(row: dict[str, Any]) -> str:
    spread = row["paper_spread"]
    return f"{row['paper_accuracy']:.2f} %" if spread is None else f"{row['paper_accuracy']:g} +- {spread:g} %"


def _where(content: dict[str, Any]) -> str:
    machine = content["machine"]
    return f"times of one image in Tenfold on {machine['cpu']}, {machine['physical_cores']} cores"
