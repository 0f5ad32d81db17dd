"""The table of kernels for GPUs without a GPU."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

Table = tuple[list[str], list[list[str]]]  # headings, rows
HONEST = ("No GPU was timed: registers and spills by ptxas, bank conflicts and sectors counted by the emulator in {blocks} blocks of each "
          "launch, cycles by the model that chooses tiles (preset {preset}).")
ARCHS = ("sm_80", "sm_90")


def by_list(content: dict[str, Any]) -> Table:
    """One line for each list of layers."""
    rows = [row for row in content["rows"] if "error" not in row]
    headings = ["layers of", "number", "launches", *(f"most registers, {arch}" for arch in ARCHS), "spilling", "most shared, KiB",
                "wavefronts over least, median", "worst", "sectors over least, median", "worst", "modelled share of peak, median"]
    lines = []
    for name in sorted({name for row in rows for name in row["lists"]}, key=lambda name: ("-factored" in name, name)):
        mine = [row for row in rows if name in row["lists"]]
        launches = [launch for row in mine for launch in row["launches"]]
        spilling = sum(any(launch["spill_bytes"].values()) for launch in launches)
        banks, sectors = ([found for launch in launches if (found := over(launch, kind))] for kind in ("wavefronts", "sectors"))
        shares = [share for row in mine if (share := row["modelled"]["share_of_peak"])]
        registers = [str(max(one["registers"][arch] for one in launches)) for arch in ARCHS]
        lines.append([name, str(len(mine)), str(len(launches)), *registers, str(spilling),
                      f"{max(one['shared_bytes'] for one in launches) / 1024:.0f}", *_middle_and_worst(banks),
                      *_middle_and_worst(sectors), f"{median(shares):.0%}" if shares else "-"])
    return headings, lines


def over(launch: dict[str, Any], kind: str) -> float | None:
    """What is counted of a kind over the least that there could be; None where there is none of it."""
    return launch[kind] / launch[f"least_{kind}"] if launch[f"least_{kind}"] else None


def _middle_and_worst(values: list[float]) -> tuple[str, str]:
    return (f"{median(values):.2f}", f"{max(values):.2f}") if values else ("-", "-")


def sections(folder: Path, read: Callable[[Path], dict[str, Any]], markdown: Callable[[Table], str]) -> Mapping[str, str]:
    """What stands between the markers of docs/cuda.md."""
    content = read(folder / "static.json")
    machine = content["machine"]
    presets = {row["modelled"]["preset"] for row in content["rows"] if "modelled" in row}
    text = markdown(by_list(content)) + "\n" + HONEST.format(blocks=machine["blocks"], preset=", ".join(sorted(presets)))
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text += f" Batch 1, float32. {content['date'][:10]}; {versions}.\n"
    if failed := [row for row in content["rows"] if "error" in row]:
        text += f"\nFailed: {'; '.join(row['name'] + ': ' + row['error'] for row in failed)}.\n"
    return {"cuda-static": text}


def by_batch(content: dict[str, Any]) -> Table:
    """One line for each architecture and batch of layers on bytes."""
    headings = ["GPU", "batch", "layers", "registers, median", "most", "bytes spilled",
                "IMMA among the instructions of the main loop, median", "least", "most", "modelled share of peak, median"]
    lines = []
    for arch, batch in sorted({(row["arch"], row["batch"]) for row in content["rows"]}):
        mine = [row for row in content["rows"] if (row["arch"], row["batch"]) == (arch, batch)]
        registers, loops = [row["registers"] for row in mine], [row["matrix"] / row["loop"] for row in mine if row["matrix"]]
        peaks = [row["peak_ms"] / row["modelled_ms"] for row in mine if row["modelled_ms"]]
        lines.append([arch, str(batch), str(len(mine)), f"{median(registers):.0f}", str(max(registers)),
                      str(sum(row["spill_bytes"] for row in mine)), *(f"{pick(loops):.0%}" for pick in (median, min, max)),
                      f"{median(peaks):.0%}"])
    return headings, lines


def byte_section(content: dict[str, Any], markdown: Callable[[Table], str]) -> str:
    """What stands between the markers of docs/int8.md."""
    versions = ", ".join(f"{name} {version}" for name, version in content["machine"]["versions"].items())
    no_loop = sum(not row["matrix"] for row in content["rows"])
    return (f"{markdown(by_batch(content))}\nThe layers of ResNet-18 and ResNet-50, each once, with bias, ReLU and quantizer. No GPU was "
            f"timed: registers and spills are ptxas's, instructions nvdisasm's. {no_loop} of {len(content['rows'])} kernels have no loop "
            f"with matrix instructions: their steps are written out. {content['date'][:10]}; {versions}.\n")
