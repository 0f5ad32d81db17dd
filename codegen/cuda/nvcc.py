"""Where the CUDA compiler is: in NVIDIA's wheels, or in an installed CUDA."""
from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...support.errors import TenfoldError

LEAST = (13, 0)  # older ones read other names of architectures, and lack what kernels use
EXTRA = 'pip install "tenfold[cuda]"'
INSTALLED = Path("/usr/local/cuda")


@dataclass(frozen=True)
class Nvcc:
    """A CUDA compiler.

    Attributes
    ----------
    path : Path
    version : tuple of int
        Such as (13, 0).
    """

    path: Path
    version: tuple[int, int]


def find_nvcc() -> Nvcc:
    """The CUDA compiler: that of the wheels (``tenfold[cuda]``), else of CUDA_HOME, of PATH, or of /usr/local/cuda.

    Raises
    ------
    TenfoldError
        There is none of CUDA 13 or newer; it says what to install.
    """
    older = []
    for path in _candidates():
        version = _version(path)
        if version and version >= LEAST:
            return Nvcc(path, version)
        if version:
            older.append(f"{path} is of CUDA {version[0]}.{version[1]}")
    why = f"{older[0]}, and 13.0 or newer is needed" if older else "no nvcc was found"
    raise TenfoldError(f"CUDA kernels can't be compiled: {why}; install it with {EXTRA}, or name an installed CUDA in CUDA_HOME")


def finds_nvcc() -> bool:
    """Whether there is a CUDA compiler that can be used."""
    try:
        find_nvcc()
    except TenfoldError:
        return False
    return True


@functools.cache
def architectures(nvcc: Nvcc) -> tuple[str, ...]:
    """The GPUs that a compiler makes code for, such as ``sm_80``."""
    done = subprocess.run([str(nvcc.path), "--list-gpu-code"], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    return tuple(re.findall(r"\bsm_\w+", done.stdout))


def cuda_folders() -> list[Path]:
    """Folders that may hold CUDA: those of wheels, CUDA_HOME, the usual place."""
    named = os.environ.get("CUDA_HOME")
    return [*_wheels(), *([Path(named)] if named else []), INSTALLED]


def _candidates() -> Iterator[Path]:
    *places, last = [folder / "bin" / "nvcc" for folder in cuda_folders()]
    on_path = shutil.which("nvcc")
    yield from (path for path in [*places, *([Path(on_path)] if on_path else []), last] if path.is_file())


def _wheels() -> list[Path]:
    """Folders of CUDA in site-packages, the newest first: ``nvidia/cu13``."""
    found = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    return sorted((cuda for folder in folders for cuda in folder.glob("cu[0-9]*")), key=lambda cuda: int(cuda.name[2:]), reverse=True)


@functools.cache
def _version(path: Path) -> tuple[int, int] | None:
    """The version of an nvcc; None where it can't be run."""
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    except OSError:
        return None
    said = re.search(r"release (\d+)\.(\d+)", done.stdout)
    return (int(said[1]), int(said[2])) if said else None
