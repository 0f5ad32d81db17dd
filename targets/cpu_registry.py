"""The presets: one TOML file a device."""
from __future__ import annotations

import functools
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .cpu_model import CpuModel
from .detection import CpuId, physical_cores
from .target import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class CpuIds:
    """CPUs that a preset describes: those of a vendor's family, all models or some, that have all `flags`."""

    vendor: str
    family: int
    models: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()

    @classmethod
    def read(cls, table: dict[str, Any]) -> CpuIds:
        """Take them from a table ``cpuid`` of a preset."""
        if "part" in table:
            return cls(f"{table['implementer']:#x}", 0, (table["part"],))
        return cls(**{**table, **{name: tuple(table.get(name, ())) for name in ("models", "flags")}})

    def have(self, cpu: CpuId, flags: Collection[str]) -> bool:
        """Whether a CPU is one of them."""
        of_family = (self.vendor, self.family) == (cpu.vendor, cpu.family)
        return of_family and (not self.models or cpu.model in self.models) and set(self.flags) <= set(flags)


@functools.cache
def presets() -> tuple[Target, ...]:
    """All presets, by name.

    A preset says what a family of CPUs is. How many cores to use is this machine's business, where it is of the same architecture. A
    preset of a board is another name for that of its CPU.
    """
    cpus = {path.stem: _target(path.stem, table) for path, table in _tables() if "like" not in table}
    boards = [_board(path.stem, table, cpus[table["like"]]) for path, table in _tables() if "like" in table]
    return tuple(sorted((*cpus.values(), *boards), key=lambda target: target.name))


def _board(name: str, table: dict[str, Any], cpu: Target) -> Target:
    cores = table.get("cores", cpu.cores)
    return replace(cpu, name=name, tvm={**cpu.tvm, "num-cores": cores}, cores=cores, description=table["description"])


def preset_of(cpu: CpuId, flags: Collection[str]) -> Target | None:
    """The preset that describes a CPU: of several the one that says most of it. None where no preset does.

    Parameters
    ----------
    cpu : CpuId
        Vendor, family and model.
    flags : collection of str
        As in /proc/cpuinfo.
    """
    found = [(bool(ids.models), len(ids.flags), path.stem) for path, table in _tables() for ids in _ids(table) if ids.have(cpu, flags)]
    name = max(found)[-1] if found else None
    return next((preset for preset in presets() if preset.name == name), None)


@functools.cache
def _tables() -> tuple[tuple[Path, dict[str, Any]], ...]:
    return tuple((path, tomllib.loads(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*/*.toml")))


def _ids(table: dict[str, Any]) -> list[CpuIds]:
    return [CpuIds.read(ids) for ids in table.get("cpuid", ())]


def _target(name: str, table: dict[str, Any]) -> Target:
    cores = table["tvm"].get("num-cores") or physical_cores()
    return Target(
        name=name,
        tvm={**table["tvm"], "num-cores": cores},
        vector_bits=table["vector_bits"],
        vector_registers=table["vector_registers"],
        cores=cores,
        l1_bytes=table["l1_kib"] << 10,
        l2_bytes=table["l2_kib"] << 10,
        l3_bytes=table["l3_kib"] << 10,
        features=tuple(table["features"]),
        description=table["description"],
        model=CpuModel(**table["model"]),
    )
