"""The presets: one TOML file a device."""
from __future__ import annotations

import functools
import sys
from pathlib import Path

from .detection import physical_cores
from .cpu_model import default_model
from .target import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "presets"


@functools.cache
def presets() -> tuple[Target, ...]:
    """All presets, by name. A preset says what a family of CPUs is; how many cores to use is this machine's business."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*/*.toml")))


def _read(path: Path) -> Target:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    cores = table["tvm"].get("num-cores") or physical_cores()
    return Target(
        name=path.stem,
        tvm={**table["tvm"], "num-cores": cores},
        vector_bits=table["vector_bits"],
        vector_registers=table["vector_registers"],
        cores=cores,
        l1_bytes=table["l1_kib"] << 10,
        l2_bytes=table["l2_kib"] << 10,
        l3_bytes=table["l3_kib"] << 10,
        features=tuple(table["features"]),
        description=table["description"],
        model=default_model(table["vector_registers"]),
    )
