"""The table of what each setting of `tenfold quantize` costs."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Table = tuple[list[str], list[list[str]]]  # headings, rows


def settings(path: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> str:
    """One row for each setting, two columns for each network."""
    content = read(path)
    networks = list(dict.fromkeys(row["network"] for row in content["rows"]))
    headings, first = ["setting"], {row["network"]: row["before"] for row in content["rows"]}
    cells = ["float32"]
    for network in networks:
        headings += [f"`{network}`: accuracy", "same class", "scores, dB", "MB"]
        cells += [f"{first[network]['accuracy']:.1%}", "", "", f"{first[network]['bytes'] / 1e6:.2f}"]
    rows = [cells]
    for setting in dict.fromkeys(row["setting"] for row in content["rows"]):
        cells = [setting]
        for network in networks:
            row = next(row for row in content["rows"] if (row["network"], row["setting"]) == (network, setting))
            after = row["after"]
            cells += [f"{after['accuracy']:.1%}", f"{row['agreement']:.1%}", f"{row['snr']:.1f}", f"{after['bytes'] / 1e6:.2f}"]
        rows.append(cells)
    versions = ", ".join(f"{name} {version}" for name, version in content["machine"]["versions"].items())
    return markdown((headings, rows)) + f"\n{content['rows'][0]['images']} labelled images, which calibrate too; {versions}.\n"


def sections(folder: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> dict[str, str]:
    """By the names of the markers."""
    return {"quantized": settings(folder / "settings.json", read, markdown)}
