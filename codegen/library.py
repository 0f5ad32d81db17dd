"""A lowered module becomes a shared library: machine code for the kernels in several threads, then one link.

Layers of the same shape and tile share a kernel, whatever their weights, and each kernel is generated once.
"""
from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.relax import _ffi_api as relax_api
from tvm.runtime import _ffi_api as runtime_api

from ..schedules.backend import Backend
from ..support.files.temporary import TemporaryFolder
from ..support.progress import Progress, reporter
from ..targets import CpuTarget
from ..targets.detection import physical_cores
from .stack_buffers import PIPELINE
from .toolchain import cpp_compiler, options_for, run_compiler
from .unaligned_parameters import UnalignedParameters
from .workspaces import WorkspaceMeter

Kernel = tuple[tvm.ir.GlobalVar, tirx.PrimFunc]
SUPPORT = "thread_pool.cc", "call_list.cc"  # what every library has besides its kernels
PARTS = 4  # of the work, for each thread: some kernels take ten times as long as others


def write_library(mod: tvm.IRModule, backend: Backend[CpuTarget], path: Path, progress: Progress | None = None) -> int:
    """Generate code and link it.

    Parameters
    ----------
    mod : tvm.IRModule
        Lowered: kernels, and Relax functions that call them.
    backend : Backend
        The device to generate code for.
    path : Path
        The shared library to write. The virtual machine loads it by its function ``vm_load_executable``.
    progress : Progress, optional
        Told how many parts of the code are generated.

    Returns
    -------
    int
        Bytes of the workspaces that kernels need while they run on the threads of the target.
    """
    builder = relax.ExecBuilder()
    kernels = _kernels(relax_api.VMCodeGen(builder, mod))
    target = backend.target
    meter, say = WorkspaceMeter(target.cores), reporter(progress)
    threads = physical_cores()  # of this machine, not of the target
    with TemporaryFolder() as folder, ThreadPoolExecutor(threads) as pool:
        parts = [part for index in range(PARTS * threads) if (part := kernels[index :: PARTS * threads])]
        objects = [folder / f"kernels{index}.o" for index in range(len(parts))]
        # TVM and LLVM let go of Python's lock while they work.
        support = support_objects(target)
        libraries = []
        for library in pool.map(_generate, parts, objects, repeat(backend), repeat(meter)):
            libraries.append(library)
            say("compiling: generating code", len(libraries), len(parts))
        first, rest = (libraries[0], libraries[1:]) if libraries else (None, [])
        executable = relax_api.VMLink(builder, target.tvm_target(), first, rest, {})
        objects.append(folder / "executable.o")
        _write(runtime_api.ModulePackImportsToLLVM(executable, False, str(target.tvm_target()), ""), objects[-1])
        for source, content in support.items():
            objects.append((folder / source).with_suffix(".o"))
            objects[-1].write_bytes(content)
        run_compiler([cpp_compiler(target.architecture), "-shared", "-fPIC", "-o", str(path), "-pthread", *map(str, objects)])
    return meter.bytes


def support_objects(target: CpuTarget) -> dict[str, bytes]:
    """Object files of what every library has besides its kernels, by the name of the source.

    Raises
    ------
    TenfoldError
        The compiler fails.
    """
    return {source: _object(source, cpp_compiler(target.architecture), options_for(target)) for source in SUPPORT}


@functools.cache
def _object(source: str, compiler: str, options: tuple[str, ...]) -> bytes:
    """The object file of a source in this folder."""
    with TemporaryFolder() as folder:
        path = folder / "object.o"
        headers = [f"-I{include}" for include in tvm_ffi.libinfo.include_paths()]
        command = [compiler, "-std=c++17", "-O3", "-fPIC", "-pthread", *options, *headers, "-c", str(Path(__file__).with_name(source))]
        run_compiler([*command, "-o", str(path)])
        return path.read_bytes()


def _kernels(mod: tvm.IRModule) -> list[Kernel]:
    """The kernels of a module by name, so that the same network gives the same library."""
    functions = [(var, func) for var, func in mod.functions_items() if isinstance(func, tirx.PrimFunc)]
    return sorted(functions, key=lambda item: item[0].name_hint)


def _generate(kernels: Sequence[Kernel], path: Path, backend: Backend[CpuTarget], meter: WorkspaceMeter) -> tvm.runtime.Module:
    """Generate the machine code of some kernels, and write it to an object file."""
    with tvm.transform.PassContext(instruments=[meter]):  # a context belongs to its thread
        loops = backend.lower_loops(tvm.IRModule(dict(kernels)))
        loops = UnalignedParameters()(loops)
        library = tvm.tirx.build(loops, target=backend.target.tvm_target(), pipeline=PIPELINE)
    _write(library, path)
    return library


def _write(library: tvm.runtime.Module, path: Path) -> None:
    """Write an object file, by way of a file in memory: on a full disk LLVM ends the process."""
    memory = os.memfd_create("object")
    try:
        library.write_to_file(f"/proc/self/fd/{memory}", "o")
        with open(memory, "rb", closefd=False) as content, open(path, "wb") as file:
            content.seek(0)
            shutil.copyfileobj(content, file)
    finally:
        os.close(memory)
