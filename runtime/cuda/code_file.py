"""model.cuda: the code of a network for GPUs: CUDA C, what it was compiled to, and how each kernel is launched."""
from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...support.errors import TenfoldError
from ...support.files.json_text import read_json
from ..manifest_fields import mapping, sequence, text, whole
from .launches import Extents, Launch, Routine

FORMAT = 1
MOST = 1 << 31  # of a grid in one direction, of a block, of bytes of shared memory


@dataclass(frozen=True)
class CudaCode:
    """The code of a network for GPUs.

    Attributes
    ----------
    features : tuple of str
        The architectures that there is machine code for (``sm_80``), or PTX (``compute_80``).
    source : str
        CUDA C: what `fatbin` was compiled from, and what an emulation runs.
    fatbin : bytes
        Machine code; empty where none was compiled.
    routines : dict of str to Routine
        For each function of the network, what is launched for it.
    facts : tuple of dict
        What the assembler says of each kernel: registers, spills, shared memory.
    """

    features: tuple[str, ...]
    source: str
    fatbin: bytes
    routines: Mapping[str, Routine]
    facts: tuple[dict[str, Any], ...] = field(default=())

    def write(self, path: Path) -> None:
        """Write the file."""
        routines = {name: asdict(routine) for name, routine in self.routines.items()}
        content = {"format": FORMAT, "features": self.features, "routines": routines, "facts": self.facts, "source": self.source,
                   "fatbin": base64.b64encode(self.fatbin).decode()}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> CudaCode:
        """Read a file.

        Raises
        ------
        TenfoldError
            It is no such file, or of another format.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise TenfoldError(f"{path}: no code for GPUs that this Tenfold reads: compile the network again")
        try:
            routines = {text(name): _routine(each) for name, each in mapping(content["routines"]).items()}
            fatbin = base64.b64decode(text(content["fatbin"]), validate=True)
            features, facts = sequence(content["features"], text), sequence(content["facts"], mapping)
            return cls(features, text(content["source"]), fatbin, routines, facts)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise TenfoldError(f"{path}: no code for GPUs: {error}: compile the network again") from None


def _routine(value: Any) -> Routine:
    entry = mapping(value)
    return Routine(sequence(entry["launches"], _launch), sequence(entry["scratch"], whole))


def _launch(value: Any) -> Launch:
    entry = mapping(value)
    arguments, writes = sequence(entry["arguments"], whole), sequence(entry["writes"], whole)
    shared = whole(entry["shared_bytes"], most=MOST)
    return Launch(text(entry["kernel"]), _extents(entry["grid"]), _extents(entry["block"]), shared, arguments, writes)


def _extents(value: Any) -> Extents:
    x, y, z = sequence(value, lambda each: whole(each, 1, MOST))
    return x, y, z
