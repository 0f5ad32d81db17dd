"""Code for a target, whatever kind it is: a shared library for a CPU, kernels and their launches for a GPU."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm

from ..runtime.manifest import library_name
from ..runtime.memory_plan import Step
from ..schedules.backend import Backend
from ..support.progress import Progress
from ..targets import CpuTarget, GpuTarget, Target
from .cuda.code import write_kernels
from .cuda.nvcc import find_nvcc
from .library import support_objects, write_library


def check_tools(target: Target) -> None:
    """Raise TenfoldError where the compiler that a target needs is missing or fails."""
    if isinstance(target, GpuTarget):
        find_nvcc()
    elif isinstance(target, CpuTarget):
        support_objects(target)


def write_code(mod: tvm.IRModule, steps: tuple[Step, ...], backend: Backend[Any], folder: Path, progress: Progress | None = None) -> int:
    """Generate the code of a lowered module into a folder.

    Parameters
    ----------
    mod : tvm.IRModule
        Kernels, and Relax functions that call them.
    steps : tuple of Step
        The calls of kernels in order; empty where there is more than that.
    backend : Backend
    folder : Path
        Gets the file `library_name`.
    progress : Progress, optional

    Returns
    -------
    int
        Bytes of the workspaces that kernels need while they run.

    Raises
    ------
    TenfoldError
        The code can't be compiled for the target.
    """
    target = backend.target
    path = folder / library_name(target.instruction_set)
    if isinstance(target, GpuTarget):
        write_kernels(mod, steps, backend, path, progress)
        return 0
    return write_library(mod, backend, path, progress)
