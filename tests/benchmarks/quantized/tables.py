"""The tables of what each setting of `tenfold quantize` costs, and of what `compile --size` saves."""
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
    measured = [row["setting"] for row in content["rows"]]
    for setting in (each for each in dict.fromkeys(measured) if measured.count(each) == len(networks)):
        cells = [setting]
        for network in networks:
            row = next(row for row in content["rows"] if (row["network"], row["setting"]) == (network, setting))
            after = row["after"]
            cells += [f"{after['accuracy']:.1%}", f"{row['agreement']:.1%}", f"{row['snr']:.1f}", f"{after['bytes'] / 1e6:.2f}"]
        rows.append(cells)
    versions = ", ".join(f"{name} {version}" for name, version in content["machine"]["versions"].items())
    return markdown((headings, rows)) + f"\n{content['rows'][0]['images']} labelled images, which calibrate too; {versions}.\n"


def sizes(path: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> str:
    """One row for each size, three columns for each network."""
    content = read(path)
    networks = list(dict.fromkeys(row["network"] for row in content["rows"]))
    found = {(row["network"], row["size"]): row for row in content["rows"]}
    headings = ["`--size`"]
    for network in networks:
        headings += [f"`{network}`: weights.bin, MB", "error of the weights", "accuracy"]
    rows = []
    for size in dict.fromkeys(row["size"] for row in content["rows"]):
        cells = ["none" if size is None else f"`{size}`"]
        for network in networks:
            row = found[network, size]
            facts, dense = row["facts"], next(each["facts"] for each in content["rows"] if each["network"] == network and each["facts"])
            accuracy = dense["accuracy_before"] if facts is None else facts["accuracy"]
            cells += [f"{row['bytes'] / 1e6:.2f}", "" if facts is None else f"{facts['weight_error']:.1%}", f"{accuracy:.1%}"]
        rows.append(cells)
    return markdown((headings, rows)) + "\n500 labelled images; for `zen4`. Without a size, 3 x 3 convolutions may be Winograd's.\n"


def mixed(path: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> str:
    """One row for each network and way; times faster than the dense network in float32, the first of each."""
    content = read(path)
    first: dict[str, float] = {}
    rows = []
    for row in content["rows"]:
        dense = first.setdefault(row["network"], row["ms"])
        cells = [f"`{row['network']}`", row["name"], f"{row['on_bytes']} of {row['layers']}", f"{row['accuracy']:.1%}"]
        rows.append([*cells, f"{row['bytes'] / 1e6:.2f}", f"{row['ms']:.4f}", f"{dense / row['ms']:.2f} x", f"{row['onnxruntime_ms']:.3f}"])
    headings = ["network", "how", "layers on bytes", "accuracy", "MB", "ms", "against dense float32", "ONNX Runtime, ms"]
    counted = f"{content['rows'][0]['images']} held-out images; {content['threads']} threads, timed in turns.\n"
    return markdown((headings, rows)) + "\n" + counted


def sections(folder: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> dict[str, str]:
    """By the names of the markers."""
    found = {"quantized": settings(folder / "settings.json", read, markdown), "sizes": sizes(folder / "sizes.json", read, markdown)}
    return {**found, "mixed": mixed(folder / "mixed.json", read, markdown)}
