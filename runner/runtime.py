"""TVM's runtime without TVM's compiler: loads a compiled network in a fraction of the time that ``import tvm`` takes."""
from __future__ import annotations

import ctypes
import functools
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import TenfoldError
from ..passes.memory_plan import ALIGNMENT, arena_bytes, tensor_bytes
from ..targets.cpu import physical_cores
from ..targets.light_import import import_tvm_ffi
from . import thread_pool
from .finite import PARTIAL_SUMS, PartialSums, all_finite
from .weights import Contents, view

CPU = 1  # kDLCPU
POOLED = 2  # VirtualMachine.POOLED_ALLOCATOR
BOUND = "run"  # ``main`` with its memory bound to it


@functools.cache
def ffi() -> ModuleType:
    """The module `tvm_ffi`, with TVM's runtime library loaded into it."""
    tvm_ffi = import_tvm_ffi()
    spec = importlib.util.find_spec("tvm")
    folder = Path(spec.origin).parent / "lib" if spec and spec.origin else Path()
    for name, required in (("libtvm_runtime.so", True), ("libtvm_runtime_extra.so", False)):
        if required or (folder / name).exists():
            try:
                ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise TenfoldError(f"can't load TVM's runtime: {error}; reinstall apache-tvm") from None
    return tvm_ffi


def load_executable(path: Path) -> tuple[Any, PartialSums | None]:
    """The virtual machine of an exported library, ready to call, ``machine["main"](tensor)``; and a kernel for `all_finite`, if it has one.

    Raises
    ------
    TenfoldError
        If the library can't be loaded.
    """
    try:
        library = ffi().load_module(str(path.resolve()))
        machine = library["vm_load_executable"]()
    except (RuntimeError, AttributeError, OSError) as error:
        raise TenfoldError(f"{path}: can't be loaded as a compiled network: {str(error).strip().splitlines()[0]}") from None
    machine["vm_initialization"](CPU, 0, POOLED)
    thread_pool.adopt(path.resolve())
    if not library.implements_function(PARTIAL_SUMS, query_imports=True):
        return machine, None
    kernel, from_dlpack = library.get_function(PARTIAL_SUMS, query_imports=True), ffi().from_dlpack
    return machine, lambda array, sums: kernel(from_dlpack(array), from_dlpack(sums))


def default_threads(wanted: int | None) -> int:
    """`wanted` threads, but no more than the physical cores that this process may use."""
    cores = physical_cores()
    return min(wanted or cores, cores)


def aligned_bytes(size: int) -> np.ndarray:
    """Memory whose address is a multiple of 64: no vector lies across two cache lines. Pages are the system's until they are written."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -ffi().from_dlpack(raw).data_ptr() % ALIGNMENT
    return raw[start : start + size]


def aligned_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array in `aligned_bytes`."""
    return np.ndarray(shape, dtype, aligned_bytes(tensor_bytes(dtype, shape)))


class NotFinite(ValueError):
    """An input holds NaN or infinity.

    Attributes
    ----------
    position : int
        Of the input.
    """

    def __init__(self, position: int) -> None:
        super().__init__(f"input {position} holds NaN or infinity")
        self.position = position


class Machine:
    """A loaded library with its memory: weights where their file is mapped, and an arena."""

    def __init__(self, path: Path, contents: Contents, inputs: list[tuple[tuple[int, ...], str]], threads: int) -> None:
        self.executable, self._partial_sums = load_executable(path)
        self._arena = aligned_bytes(arena_bytes(contents.places))
        memory = (*contents.weights, *(view(self._arena, place) for place in contents.places))
        self.executable["save_function"]("main", BOUND, True, *(ffi().from_dlpack(array) for array in memory))
        self._run = self.executable[BOUND]
        self._destinations = contents.destinations
        self._all_written = False  # kernels write every output where the caller has it; known after the first call
        self._inputs = inputs
        self._buffers: dict[int, np.ndarray] = {}  # for inputs that kernels can't read where they are
        self._lock = threading.Lock()  # the arena and the virtual machine serve one call at a time
        self.threads = threads

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the right shapes and dtypes. The results belong to the caller.

        Raises
        ------
        NotFinite
        """
        with self._lock:
            written, returned = self._invoke(arrays)
            if self._all_written:
                return written
            # Inputs, constants, views: none of them is the caller's to keep.
            results = [np.from_dlpack(tensor).copy() for tensor in _flat(returned)]
            self._all_written = not results and [each.position for each in self._destinations] == list(range(len(written)))
        for destination, array in zip(self._destinations, written, strict=True):
            results.insert(destination.position, array)
        return results

    def record(self, arrays: list[np.ndarray]) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """Run once and list every function that the virtual machine called: its name, itself, and its arguments.

        The recorder stays in place: use the machine no more for anything else.
        """
        calls = []

        def note(function: Any, name: str, before: bool, _result: Any, *args: Any) -> None:
            if before:
                calls.append((name, function, args))

        with self._lock:
            self.executable["set_instrument"](ffi().convert_func(note))
            self._invoke(arrays)
        return list(calls)

    def _invoke(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], Any]:
        """The outputs that have a destination, and what ``main`` returned: the others."""
        thread_pool.use_threads(self.threads)
        readable = [self._readable(position, array) for position, array in enumerate(arrays)]
        written = [aligned_empty(each.shape, each.dtype) for each in self._destinations]
        from_dlpack = ffi().from_dlpack
        return written, self._run(*map(from_dlpack, readable), *map(from_dlpack, written))

    def _readable(self, position: int, array: np.ndarray) -> np.ndarray:
        """The input itself where kernels can read it: in order, at an address for its numbers, and writeable, since DLPack has no other."""
        if not array.flags.carray:
            if position not in self._buffers:
                self._buffers[position] = aligned_empty(*self._inputs[position])
            np.copyto(self._buffers[position], array, casting="no")
            array = self._buffers[position]
        if not all_finite(array, self._partial_sums):
            raise NotFinite(position)
        return array


def _flat(result: Any) -> Iterator[Any]:
    if isinstance(result, ffi().Tensor):
        yield result
    else:
        for part in result:
            yield from _flat(part)
