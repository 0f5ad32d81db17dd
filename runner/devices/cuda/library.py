"""The emulated machine as a shared library: making it, calling it."""
from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ....codegen.toolchain import INSTALL
from ....support.cache_folder import cache_folder
from ....support.errors import TenfoldError
from ....support.files.temporary import TemporaryFolder
from .errors import EmulationError
from .source import Prepared

CPP = Path(__file__).with_name("cpp")
UNIT_SIZE = 30_000  # characters of C++ for which another compiler is started
HEADER = "cuda_on_cpu.h"
SOURCE = "kernel.cu"  # as prepare() names it to the compiler
COMMON = ("-std=gnu++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-fwrapv", "-w", "-pthread")
MACHINE = ("-O2",)
# Accesses stay as they are written: no scalar replacement, no copies of code that would give one access two places.
CHECKED = ("-O1", "-g1", "-fsanitize=thread", "-fno-tree-sra", "-fno-thread-jumps", "-fno-tree-dominator-opts", "-DEMULATOR_CHECKS")
UNCHECKED = ("-O2", "-g1")


class Operand(ctypes.Structure):
    """As in cpp/machine.h."""

    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64), ("name", ctypes.c_char_p), ("element", ctypes.c_int32),
                ("output", ctypes.c_int32), ("written", ctypes.c_int32)]


class SiteCount(ctypes.Structure):
    """As in cpp/machine.h."""

    _fields_ = [("site", ctypes.c_int64), ("space", ctypes.c_int32), ("store", ctypes.c_int32), ("requests", ctypes.c_int64),
                ("transactions", ctypes.c_int64), ("least", ctypes.c_int64)]


class Request(ctypes.Structure):
    """As in cpp/machine.h."""

    _fields_ = [
        ("kernel", ctypes.c_char_p), ("grid", ctypes.c_int32 * 3), ("block", ctypes.c_int32 * 3), ("shared_bytes", ctypes.c_int64),
        ("operands", ctypes.POINTER(Operand)), ("operand_count", ctypes.c_int32), ("order", ctypes.c_int32), ("seed", ctypes.c_uint64),
        ("blocks", ctypes.POINTER(ctypes.c_int64)), ("block_count", ctypes.c_int64), ("workers", ctypes.c_int32),
        ("checks", ctypes.c_int32), ("counting", ctypes.c_int32), ("counts", ctypes.POINTER(SiteCount)), ("count_room", ctypes.c_int64),
        ("count_size", ctypes.c_int64),
    ]


class Report(ctypes.Structure):
    """As in cpp/machine.h."""

    _fields_ = [("failed", ctypes.c_int32), ("thread", ctypes.c_int32), ("block", ctypes.c_int64), ("site", ctypes.c_int64),
                ("line", ctypes.c_int32), ("text", ctypes.c_char * 400)]


def build(prepared: Prepared, checks: bool, folder: str | os.PathLike[str] | None = None) -> Path:
    """Compile a source together with the machine, or find it compiled in a folder.

    Parameters
    ----------
    prepared : Prepared
    checks : bool
        Whether each access is checked.
    folder : path-like, optional
        Default: the folder for caches.

    Raises
    ------
    EmulationError
        The source can't be compiled for the emulator.
    TenfoldError
        There is no C++ compiler.
    """
    compiler = os.environ.get("CXX") or "g++"
    if not shutil.which(compiler):
        raise TenfoldError(f"no C++ compiler was found to emulate CUDA with: {INSTALL}")
    place = Path(folder) if folder else cache_folder() / "cuda-emulator"
    place.mkdir(parents=True, exist_ok=True)
    whole, = prepared.units(1)
    text = [compiler, _version(compiler), _machine_text(), str(checks), str(prepared.granule), whole]
    key = hashlib.sha256("\n".join(text).encode()).hexdigest()[:24]
    library = place / f"{key}.so"
    if library.exists():
        return library
    machine = _machine(compiler, prepared.granule, place)
    units = prepared.units(min(os.cpu_count() or 1, 1 + len(whole) // UNIT_SIZE))
    options = [*COMMON, *(CHECKED if checks else UNCHECKED)]
    includes = [f"-I{_header(compiler, options, place)}", f"-I{CPP}", f"-I{CPP / 'include'}"]
    with TemporaryFolder(place) as work, ThreadPoolExecutor(len(units)) as pool:
        objects = list(pool.map(lambda unit: _compile([compiler, *options, *includes], unit[1], work / str(unit[0])), enumerate(units)))
        # Functions that kernels call are in each unit.
        link = [compiler, "-shared", "-pthread", "-Wl,-Bsymbolic", "-Wl,--allow-multiple-definition"]
        _run([*link, *objects, str(machine), "-o", str(work / "new.so")])
        (work / "new.so").replace(library)
    return library


def load(library: Path) -> ctypes.CDLL:
    """Load what `build` made."""
    loaded = ctypes.CDLL(str(library))
    loaded.emulator_launch.argtypes = [ctypes.POINTER(Request), ctypes.POINTER(Report)]
    return loaded


def lines_of(library: Path, sites: list[int]) -> list[tuple[int, ...]]:
    """The line of the CUDA source for each place of the machine code, and those of the calls that led there, as far as they are known."""
    if not sites or not shutil.which("addr2line"):
        return [()] * len(sites)
    addresses = [hex(max(site - 1, 0)) for site in sites]
    found = subprocess.run(["addr2line", "-a", "-i", "-e", str(library), *addresses], capture_output=True, text=True).stdout
    return [tuple(int(line) for line in re.findall(rf"/{SOURCE}:(\d+)", entry)) for entry in found.split("0x")[1:]]


@functools.cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]


@functools.cache
def _machine_text() -> str:
    return "\n".join([*COMMON, *MACHINE, *CHECKED, *UNCHECKED, *(path.read_text() for path in sorted(CPP.rglob("*.*")))])


def _machine(compiler: str, granule: int, place: Path) -> Path:
    """The machine without a kernel, compiled once."""
    key = hashlib.sha256("\n".join([compiler, _version(compiler), _machine_text()]).encode()).hexdigest()[:24]
    made = place / f"machine-{key}-{granule}.o"
    if not made.exists():
        with TemporaryFolder(place) as work:
            new = work / "machine.o"
            _run([compiler, *COMMON, *MACHINE, f"-DGRANULE={granule}", "-c", str(CPP / "machine_all.cc"), "-o", str(new)])
            new.replace(made)
    return made


def _header(compiler: str, options: list[str], place: Path) -> Path:
    """A folder with the header that each kernel begins with, compiled once: half of the time that a small kernel would take."""
    key = hashlib.sha256("\n".join([compiler, _version(compiler), *options, _machine_text()]).encode()).hexdigest()[:24]
    folder = place / f"header-{key}"
    made = folder / f"{HEADER}.gch"
    if not made.exists():
        folder.mkdir(exist_ok=True)
        with TemporaryFolder(place) as work:
            _run([compiler, *options, "-x", "c++-header", str(CPP / HEADER), "-o", str(work / "new.gch")])
            (work / "new.gch").replace(made)
    return folder


def _compile(command: list[str], text: str, folder: Path) -> str:
    folder.mkdir()
    (folder / SOURCE).write_text(text)
    _run([*command, "-x", "c++", "-c", str(folder / SOURCE), "-o", str(folder / "kernel.o")])
    return str(folder / "kernel.o")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in said if "rror" in line), said[0] if said else f"exit code {done.returncode}")
        raise EmulationError(f"the CUDA source can't be compiled for the emulator: {why[:300]}")
