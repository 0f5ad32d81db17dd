"""A lowered module -> a shared library: machine code for the kernels in several threads, then one link.

Kernels are told apart by shape and tile, not by weights: layers that are alike share one, and each is generated once.
"""
from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.relax import _ffi_api as relax_api
from tvm.runtime import _ffi_api as runtime_api
from tvm.support import cc

from ..files.temporary import TemporaryFolder
from ..schedules.bound_loops import BoundLoops, lower_blocks
from ..schedules.transpose_tiles import TransposeTiles
from ..targets import Target
from ..targets.cpu import physical_cores
from .any_alignment import AnyAlignment
from .on_stack import PIPELINE
from .workspaces import WorkspaceMeter

Kernel = tuple[tvm.ir.GlobalVar, tirx.PrimFunc]
SUPPORT = "thread_pool.cc", "straight_line.cc"  # what every library has besides its kernels
PARTS = 4  # for each thread: some kernels take ten times as long as others


def write_library(mod: tvm.IRModule, target: Target, path: Path) -> int:
    """Generate code and link it.

    Parameters
    ----------
    mod : tvm.IRModule
        Lowered: kernels, and Relax functions that call them.
    target : Target
        The device to generate code for.
    path : Path
        The shared library to write. The virtual machine loads it by its function ``vm_load_executable``.

    Returns
    -------
    int
        Bytes of the workspaces that kernels need while they run, on the threads of the target.
    """
    builder = relax.ExecBuilder()
    kernels = _kernels(relax_api.VMCodeGen(builder, mod))
    meter = WorkspaceMeter(target.cores)
    threads = physical_cores()  # of this machine, not of the target
    with TemporaryFolder() as folder, ThreadPoolExecutor(threads) as pool:
        parts = [part for index in range(PARTS * threads) if (part := kernels[index :: PARTS * threads])]
        objects = [folder / f"kernels{index}.o" for index in range(len(parts))]
        # TVM and LLVM let go of Python's lock while they work.
        libraries = list(pool.map(_generate, parts, objects, repeat(target), repeat(meter)))
        first, rest = (libraries[0], libraries[1:]) if libraries else (None, [])
        executable = relax_api.VMLink(builder, target.tvm_target(), first, rest, {})
        objects.append(folder / "executable.o")
        runtime_api.ModulePackImportsToLLVM(executable, False, str(target.tvm_target()), "").write_to_file(str(objects[-1]))
        for source in SUPPORT:
            objects.append((folder / source).with_suffix(".o"))
            objects[-1].write_bytes(_object(source, cc.get_cc(), _vectors(target)))
        cc.create_shared(str(path), [str(name) for name in objects], options=["-pthread"])
    return meter.bytes


def _vectors(target: Target) -> tuple[str, ...]:
    """Options of the C++ compiler for the vectors of a target."""
    return tuple(f"-m{feature}" for feature in ("avx2", "avx512f") if feature in target.features)


@functools.cache
def _object(source: str, compiler: str, options: tuple[str, ...]) -> bytes:
    """The object file of a source in this folder."""
    with TemporaryFolder() as folder:
        path = folder / "object.o"
        headers = [f"-I{include}" for include in tvm_ffi.libinfo.include_paths()]
        command = [compiler, "-std=c++17", "-O3", "-fPIC", "-pthread", *options, *headers, "-c", str(Path(__file__).with_name(source))]
        subprocess.run([*command, "-o", str(path)], check=True, capture_output=True)
        return path.read_bytes()


def _kernels(mod: tvm.IRModule) -> list[Kernel]:
    """The kernels of a module by name, so that the same network gives the same library."""
    functions = [(var, func) for var, func in mod.functions_items() if isinstance(func, tirx.PrimFunc)]
    return sorted(functions, key=lambda item: item[0].name_hint)


def _generate(kernels: Sequence[Kernel], path: Path, target: Target, meter: WorkspaceMeter) -> tvm.runtime.Module:
    with tvm.transform.PassContext(instruments=[meter]):  # a context belongs to its thread
        loops = BoundLoops()(lower_blocks(tvm.IRModule(dict(kernels))))
        loops = AnyAlignment()(TransposeTiles()(loops))
        library = tvm.tirx.build(loops, target=target.tvm_target(), pipeline=PIPELINE)
    library.write_to_file(str(path))
    return library
