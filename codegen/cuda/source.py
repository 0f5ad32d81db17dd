"""Lowered kernels -> CUDA C, and how each of them is launched.

TVM splits each function into what runs on the GPU and the calls that launch it. Of the latter only the extents of the grid are kept: the
runtime launches kernels through the driver, without TVM.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

from ...runtime.cuda.launches import Launch, Routine
from ...runtime.memory_plan import tensor_bytes
from ...schedules.backend import Backend
from ...schedules.tir.loop_names import BYTE_STEPS
from ...support.errors import TenfoldError
from .lowering import lower_device
from .plain_names import with_plain_names

LAUNCH = "tirx.call_ffi_kernel"
SHARED = "tirx.use_dyn_shared_memory"
AXES = "xyz"
# TVM asks which threads of a warp happen to run, and adds up across these. Our warps are whole: all threads have to come.
ACTIVE, WHOLE = "__activemask()", "0xffffffffu"
# TVM's functions that begin a copy branch where it is guarded, and say nothing of memory. What the guard excludes is zero here.
COPY = re.compile(r"(__forceinline__ __device__ void ptx_cp_async_legacy_(pred_)?(c[ag])_(\d+)_(\d+)_(\d+)\([^)]*\)) \{\n.*?\n\}\n",
                  re.DOTALL)
COPYING = """{head} {{
  unsigned int to = __cvta_generic_to_shared((char*)dst + dst_off * {to_bytes});
  asm volatile("cp.async.{cache}.shared.global [%0], [%1], {size}{filled};"
    :: "r"(to), "l"((char*)src + src_off * {from_bytes}){read} : "memory");
}}
"""
# Products of bytes have few steps. nvcc would write them all out, which takes twice the registers.
STEP_LOOP = re.compile(rf"^( *)(?=for \(int {BYTE_STEPS}_0\b)", re.MULTILINE)
NOT_UNROLLED = r"\1#pragma unroll 1\n\1"


def generate(kernels: Sequence[tuple[tvm.ir.GlobalVar, tirx.PrimFunc]], backend: Backend[Any]) -> tuple[str, dict[str, Routine]]:
    """Generate CUDA C.

    Parameters
    ----------
    kernels : sequence of (GlobalVar, PrimFunc)
        Scheduled functions.
    backend : Backend
        Of a GPU.

    Returns
    -------
    str, dict of str to Routine
        The source, and what is launched for each function by its name.
    """
    target = backend.target.tvm_target()
    named = {var: with_plain_names(func) for var, func in kernels}
    host, device = lower_device(backend.lower_loops(tvm.IRModule(named)), target)
    written = {str(func.attrs["global_symbol"]): _written(func) for _, func in device.functions_items()}
    routines = {str(var.name_hint): _routine(func, written) for var, func in host.functions_items()}
    source = str(tvm.get_global_func("target.build.cuda")(device, target).inspect_source())
    return STEP_LOOP.sub(NOT_UNROLLED, COPY.sub(_copying, source.replace(ACTIVE, WHOLE))), routines


def _copying(found: re.Match[str]) -> str:
    """A function that begins a copy: it reads nothing and writes zeros where its guard does not hold."""
    head, guarded, cache, size, to_bytes, from_bytes = found.groups()
    filled, read = (", %2", f', "r"(predicate ? {size} : 0)') if guarded else ("", "")
    return COPYING.format(head=head, cache=cache, size=size, filled=filled, read=read, to_bytes=to_bytes, from_bytes=from_bytes)


def _routine(func: tirx.PrimFunc, written: Mapping[str, Sequence[int]]) -> Routine:
    """What a host function launches, in order; `written` says which of its pointers each kernel writes."""
    sources = {param: index for index, param in enumerate(func.params)}
    calls: list[ir.Call] = []
    loops: list[tirx.Stmt] = []
    scratch: list[int] = []

    def alias(node: tirx.DeclBuffer) -> None:
        """A view of what the function is given."""
        sources[node.buffer] = sources[node.data.args[0]]

    def own(node: tirx.AllocBuffer) -> None:
        sources[node.buffer] = len(func.params) + len(scratch)
        scratch.append(tensor_bytes(str(node.buffer.dtype), [int(size) for size in node.buffer.shape]))

    def loop(node: tirx.For | tirx.While | tirx.IfThenElse) -> None:
        loops.append(node)

    def launch(call: ir.Call) -> None:
        if getattr(call.op, "name", None) == LAUNCH:
            calls.append(call)

    for visit in ((tirx.AllocBuffer, own), (tirx.DeclBuffer, alias), (tirx.For, loop), (tirx.While, loop), (tirx.IfThenElse, loop),
                  (ir.Call, launch)):
        tvm_ffi.structural_walk(func.body, visit)
    try:
        launches = tuple(_launch(call, sources, written) for call in calls)
    except (KeyError, TypeError, AttributeError):  # a number that is no constant, or passed to a kernel
        launches = ()
    if loops or not launches:
        name = str(func.attrs["global_symbol"])
        raise TenfoldError(f"operator {name} is no fixed order of kernels, and GPUs run only such: "
                           "cut the network before it, or compile for a CPU")
    return Routine(launches, tuple(scratch))


def _launch(call: ir.Call, sources: dict[Any, int], written: Mapping[str, Sequence[int]]) -> Launch:
    kernel, *arguments = call.args
    names = [str(name) for name in call.attrs.launch_params]
    pointers, numbers = arguments[: len(arguments) - len(names)], arguments[len(arguments) - len(names) :]
    extents = {name: int(number) for name, number in zip(names, numbers, strict=True)}
    grid, block = ([extents.get(f"{kind}.{axis}", 1) for axis in AXES] for kind in ("blockIdx", "threadIdx"))
    positions = tuple(sources[pointer.args[0]] for pointer in pointers)
    writes = tuple(positions[index] for index in written[str(kernel.value)])
    sizes = (grid[0], grid[1], grid[2]), (block[0], block[1], block[2])
    return Launch(str(kernel.value), *sizes, extents.get(SHARED, 0), positions, writes)


def _written(func: tirx.PrimFunc) -> list[int]:
    """Which of its pointers a kernel writes."""
    pointers = {param: index for index, param in enumerate(func.params)}
    buffers: dict[Any, int] = {}
    found: set[int] = set()

    def declared(node: tirx.DeclBuffer) -> None:
        if node.data in pointers:
            buffers[node.buffer] = pointers[node.data]

    def stored(node: tirx.BufferStore) -> None:
        if node.buffer in buffers:
            found.add(buffers[node.buffer])

    tvm_ffi.structural_walk(func.body, (tirx.DeclBuffer, declared))
    tvm_ffi.structural_walk(func.body, (tirx.BufferStore, stored))
    return sorted(found)
