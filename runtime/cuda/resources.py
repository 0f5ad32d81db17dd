"""What the kernels of a network take of a GPU, as their file of code says."""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from .code_file import CudaCode
from .launches import Launch


@dataclass(frozen=True)
class KernelResources:
    """A launch, and what the assembler said of its kernel.

    Attributes
    ----------
    kernel : str
    grid, block : tuple of int
        Blocks of the grid, threads of a block; x, y, z.
    registers, spill_bytes : int or None
        Of a thread: registers, and what it stores and loads because they ran out. None where nothing is known.
    shared_bytes : int
        Of a block, static and dynamic together.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    registers: int | None
    spill_bytes: int | None
    shared_bytes: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return prod(self.block)


def resources_of(code: CudaCode, function: str, arch: str) -> tuple[KernelResources, ...]:
    """What is launched for a function of a network.

    Parameters
    ----------
    code : CudaCode
    function : str
    arch : str
        The machine code that is meant, such as ``sm_80``.
    """
    facts = {fact.get("kernel"): fact for fact in code.facts if fact.get("architecture") == arch}
    routine = code.routines.get(function)
    return tuple(_resources(launch, facts.get(launch.kernel, {})) for launch in (routine.launches if routine else ()))


def arch_for(features: Iterable[str], capability: tuple[int, int]) -> str:
    """The machine code that a GPU runs, of those that an artifact holds: of its generation, the newest that is no newer; "" for PTX."""
    found = []
    for feature in features:
        match = re.fullmatch(r"sm_(\d+)(\d)", feature)
        if match and int(match[1]) == capability[0] and int(match[2]) <= capability[1]:
            found.append((int(match[2]), feature))
    return max(found)[1] if found else ""


def _resources(launch: Launch, fact: dict[str, object]) -> KernelResources:
    registers, static = _number(fact, "registers"), _number(fact, "shared_bytes") or 0
    spills = None if registers is None else sum(_number(fact, name) or 0 for name in ("spill_store_bytes", "spill_load_bytes"))
    return KernelResources(launch.kernel, launch.grid, launch.block, registers, spills, static + launch.shared_bytes)


def _number(fact: dict[str, object], name: str) -> int | None:
    value = fact.get(name)
    return value if isinstance(value, int) else None
