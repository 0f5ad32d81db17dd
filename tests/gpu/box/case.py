"""What is in the box: compiled layers, chains and networks, each in a folder of `cases/`."""
from __future__ import annotations

import json
import lzma
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CASES = "cases"
FACTS, REFERENCE, PACKED = "case.json", "reference.npz", ".xz"
FILES = ("model.cuda", "weights.bin")
Port = tuple[str, tuple[int, ...], str]  # name, shape, dtype


@dataclass(frozen=True)
class Case:
    """One compiled network.

    Attributes
    ----------
    name : str
    step : str
        Which step of the box times it: ``layers``, ``chains``, ``flattened``, ``denton``, ``networks``, ``tf32`` or ``fp16``.
    order : int
        Among all cases.
    batch : int
    lists : tuple of str
        Of shapes, that it is in.
    inputs, outputs : tuple of Port
    macs : dict of str to int
        Multiply-adds of each function of the network that has some: the kernels that count where kernels alone are timed.
    choices : dict
        What kernels were built from, knobs and their values, by workload.
    graph : dict
        The network as `torch_graph` runs it: nodes, and the shapes of weights.
    precision : str
        Of the operands of products, here and in the rival: ``float32``, ``tf32`` or ``fp16``.
    """

    name: str
    step: str
    order: int
    batch: int
    lists: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    macs: dict[str, int]
    choices: dict[str, Any]
    graph: dict[str, Any]
    precision: str = "float32"

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)

    def write(self, folder: Path) -> None:
        """Write it to a folder, whole or not at all: it is what says that the case is complete."""
        part = folder / f"{FACTS}.part"
        part.write_text(json.dumps(asdict(self)) + "\n")
        part.replace(folder / FACTS)


def read_case(folder: Path) -> Case:
    """The case in a folder."""
    content = json.loads((folder / FACTS).read_text())
    ports = {kind: tuple((name, tuple(shape), dtype) for name, shape, dtype in content[kind]) for kind in ("inputs", "outputs")}
    return Case(**{**content, **ports, "lists": tuple(content["lists"])})


def read_cases(root: Path) -> list[Case]:
    """All cases of a box, in order."""
    return sorted((read_case(path.parent) for path in (root / CASES).glob(f"*/{FACTS}")), key=lambda case: case.order)


def pack_files(source: Path, folder: Path) -> None:
    """Compress what was compiled."""
    for name in FILES:
        (folder / (name + PACKED)).write_bytes(lzma.compress((source / name).read_bytes(), preset=6))


def unpack_files(folder: Path, destination: Path) -> None:
    """Undo `pack_files`."""
    for name in FILES:
        (destination / name).write_bytes(lzma.decompress((folder / (name + PACKED)).read_bytes()))
