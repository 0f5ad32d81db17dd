"""The presets of CPUs and boards."""
from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from .cpu_model import CpuModel
from .cpu_target import CpuTarget
from .detection import CpuId, physical_cores
from .preset_files import read_presets

FOLDERS = "x86", "arm", "boards"


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
def cpu_presets() -> tuple[CpuTarget, ...]:
    """All presets of CPUs, by name.

    A preset says what a family of CPUs is. How many cores to use is this machine's business, where it is of the same architecture. A
    preset of a board is another name for that of its CPU.
    """
    cpus = {name: _target(name, table) for name, table in read_presets(*FOLDERS) if "like" not in table}
    boards = [_board(name, table, cpus[table["like"]]) for name, table in read_presets(*FOLDERS) if "like" in table]
    return tuple(sorted((*cpus.values(), *boards), key=lambda target: target.name))


def _board(name: str, table: dict[str, Any], cpu: CpuTarget) -> CpuTarget:
    cores = table.get("cores", cpu.cores)
    return replace(cpu, name=name, tvm={**cpu.tvm, "num-cores": cores}, cores=cores, description=table["description"])


def preset_of(cpu: CpuId, flags: Collection[str]) -> CpuTarget | None:
    """The preset that describes a CPU: of several the one that says most of it. None where no preset does.

    Parameters
    ----------
    cpu : CpuId
        Vendor, family and model.
    flags : collection of str
        As in /proc/cpuinfo.
    """
    every = ((name, ids) for name, table in read_presets(*FOLDERS) for ids in _ids(table))
    found = [(bool(ids.models), len(ids.flags), name) for name, ids in every if ids.have(cpu, flags)]
    name = max(found)[-1] if found else None
    return next((preset for preset in cpu_presets() if preset.name == name), None)


def _ids(table: dict[str, Any]) -> list[CpuIds]:
    return [CpuIds.read(ids) for ids in table.get("cpuid", ())]


def _target(name: str, table: dict[str, Any]) -> CpuTarget:
    cores = table["tvm"].get("num-cores") or physical_cores()
    return CpuTarget(
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
