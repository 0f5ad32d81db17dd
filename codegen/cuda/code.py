"""The kernels of a network -> model.cuda: CUDA C, machine code for the architectures of the target, and the launches."""
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx

from ...runtime.cuda.code_file import CudaCode
from ...runtime.memory_plan import Step
from ...schedules.backend import Backend
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...support.progress import Progress, reporter
from .source import generate
from .toolchain import compile_fatbin


def write_kernels(mod: tvm.IRModule, steps: tuple[Step, ...], backend: Backend[Any], path: Path, progress: Progress | None = None) -> None:
    """Generate the code of a lowered network for GPUs and compile it.

    Parameters
    ----------
    mod : tvm.IRModule
        Lowered: kernels, and Relax functions that call them.
    steps : tuple of Step
        The calls of kernels in order.
    backend : Backend
        Of a GPU.
    path : Path
        The file to write.
    progress : Progress, optional

    Raises
    ------
    TenfoldError
        The network is no fixed order of kernels; nvcc is missing or refuses the source.
    """
    say, target = reporter(progress), backend.target
    if not steps:
        raise TenfoldError("the network is no fixed order of kernels (it has a branch, or returns an input as it is): GPUs run only such")
    say("compiling: generating code")
    source, routines = generate(_kernels(mod), backend)
    say(f"compiling for {', '.join(target.archs)}")
    with TemporaryFolder() as folder:
        facts = compile_fatbin(source, target.archs, target.ptx, folder / "kernels.fatbin")
        fatbin = (folder / "kernels.fatbin").read_bytes()
    CudaCode(target.features, source, fatbin, routines, tuple(asdict(fact) for fact in facts)).write(path)


def _kernels(mod: tvm.IRModule) -> list[tuple[tvm.ir.GlobalVar, tirx.PrimFunc]]:
    """The kernels by name, so that the same network gives the same code."""
    functions = [(var, func) for var, func in mod.functions_items() if isinstance(func, tirx.PrimFunc)]
    return sorted(functions, key=lambda item: item[0].name_hint)
