"""A target in a file of the user's, of the form of the presets -> CpuTarget."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..support.errors import TenfoldError
from ..support.files.json_text import decode_text
from ..support.files.regular import read_regular
from .architectures import architecture_of
from .cpu_model import FIGURES, CpuModel
from .cpu_target import CpuTarget
from .json_target import L1_BYTES, L2_BYTES, L3_BYTES, flags_for, known_model
from .preset_files import tomllib
from .spec import checked, refuse_unknown, shown

LARGEST = 1 << 20  # bytes of a file
SIZES = {"l1_kib": L1_BYTES >> 10, "l2_kib": L2_BYTES >> 10, "l3_kib": L3_BYTES >> 10}
LARGEST_CACHE = 1 << 24  # KiB: 16 GiB
FIELDS = ("description", "vector_bits", "vector_registers", *SIZES, "features", "cpuid", "model", "tvm")
BITS, REGISTERS = (128, 256, 512), (16, 32)


def from_toml(path: str | os.PathLike[str]) -> CpuTarget:
    """The target in a file like those in ``targets/presets``, named as the file. Only the table ``tvm`` must be there.

    What a table ``model`` leaves out is that of the preset for the same ``mcpu``, or the default. ``cpuid`` only counts in a preset.

    Raises
    ------
    TenfoldError
        The file can't be read; a field is unknown or has a value that it can't have; what `spec.checked` refuses, and what LLVM can't
        compile for. The message names the file.
    """
    path = Path(path)
    text = decode_text(read_regular(path, LARGEST), str(path))
    try:
        return _target(path.stem, tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise TenfoldError(f"{path}: not TOML: {error}") from None
    except TenfoldError as error:
        raise TenfoldError(f"{path}: {error}") from None


def _target(name: str, table: dict[str, Any]) -> CpuTarget:
    refuse_unknown(table, FIELDS, "the file")
    if not isinstance(table.get("tvm"), dict):
        raise TenfoldError('the table [tvm] is missing: it needs kind = "llvm" and mcpu')
    tvm = checked(table["tvm"])
    needed = flags_for(tvm)
    bits, registers = architecture_of(tvm).vectors(needed)
    bits = _one_of("vector_bits", table.get("vector_bits", bits), BITS, bits)
    registers = _one_of("vector_registers", table.get("vector_registers", registers), REGISTERS, registers)
    l1, l2, l3 = (_kib(size, table.get(size, default)) << 10 for size, default in SIZES.items())
    description = table.get("description", "")
    if not isinstance(description, str):
        raise TenfoldError(f"description is {shown(description)}: it must be a string")
    features = _features(table.get("features", list(needed)), needed)
    model = checked_model(table.get("model", {}), known_model(tvm, registers))
    return CpuTarget(
        name=name, tvm=tvm, cores=tvm["num-cores"], features=features, description=description,
        vector_bits=bits, vector_registers=registers, l1_bytes=l1, l2_bytes=l2, l3_bytes=l3, model=model,
    )  # fmt: skip


def checked_model(table: Any, default: CpuModel) -> CpuModel:
    """The model with what a table says of it.

    A clock without the rates of memory, and without the times between cores, says how many cycles these take.

    Raises
    ------
    TenfoldError
        It is no table; a field is unknown, of a wrong type or out of range.
    """
    if not isinstance(table, dict):
        raise TenfoldError(f"model is {shown(table)}: it must be a table [model]")
    refuse_unknown(table, tuple(FIGURES), "[model]")
    given: dict[str, Any] = {name: _figure(name, value) for name, value in table.items()}
    return replace(default.at_clock(float(given.get("clock_ghz", default.clock_ghz))), **given)


def _figure(name: str, value: Any) -> float | bool:
    kind: Any = type(FIGURES[name].default)
    limits = FIGURES[name].metadata
    if kind is bool:
        if not isinstance(value, bool):
            raise TenfoldError(f"{name} in [model] is {shown(value)}: it must be true or false")
        return value
    kinds = int if kind is int else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not limits["least"] <= value <= limits["most"]:
        what = "a whole number" if kind is int else "a number"
        raise TenfoldError(f"{name} in [model] is {shown(value)}: it must be {what} from {limits['least']:g} to {limits['most']:g}")
    return kind(value)


def _one_of(name: str, value: Any, choices: tuple[int, ...], most: int) -> int:
    if isinstance(value, bool) or value not in choices or value > most:
        allowed = ", ".join(str(choice) for choice in choices if choice <= most)
        raise TenfoldError(f"{name} is {shown(value)}: code for the CPU of [tvm] can have {allowed}")
    return value


def _kib(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_CACHE:
        raise TenfoldError(f"{name} is {shown(value)}: it must be a whole number of KiB, 0 where unknown")
    return value


def _features(given: Any, needed: tuple[str, ...]) -> tuple[str, ...]:
    """All that code may use must be there: it would die of an illegal instruction where a flag is missing."""
    if not isinstance(given, list) or not all(isinstance(flag, str) for flag in given):
        raise TenfoldError(f"features are {shown(given)}: they must be a list of flags as in /proc/cpuinfo")
    missing = [flag for flag in needed if flag not in given]
    if missing:
        raise TenfoldError(f"features lack {', '.join(missing)}, which code for the CPU of [tvm] uses: leave the field out, or add them")
    return tuple(given)
