"""TVM's runtime without TVM's compiler: loads a compiled network in a fraction of the time that ``import tvm`` takes."""
from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import TenfoldError
from ..passes.memory_plan import ALIGNMENT, arena_bytes, tensor_bytes
from ..targets.cpu import physical_cores
from ..targets.light_import import import_tvm_ffi
from . import thread_pool
from .weights import Contents, view

CPU = 1  # kDLCPU
POOLED = 2  # VirtualMachine.POOLED_ALLOCATOR
BIG_CORES = 1  # ThreadGroup::kBig, the only affinity mode that takes a number of threads
BOUND = "run"  # ``main`` with its memory bound to it
PIECE = 32768  # numbers that are copied and checked at a time
_THREAD = threading.local()


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


def load_executable(path: Path) -> Any:
    """The virtual machine of an exported library, ready to call: ``load_executable(path)["main"](tensor)``.

    Raises
    ------
    TenfoldError
        If the library can't be loaded.
    """
    try:
        machine = ffi().load_module(str(path.resolve()))["vm_load_executable"]()
    except (RuntimeError, AttributeError, OSError) as error:
        raise TenfoldError(f"{path}: can't be loaded as a compiled network: {str(error).strip().splitlines()[0]}") from None
    machine["vm_initialization"](CPU, 0, POOLED)
    thread_pool.adopt(path.resolve())
    return machine


def use_threads(threads: int) -> None:
    """Let kernels that this thread launches run on `threads` threads.

    TVM starts its pool with the first kernel and can only shrink it afterwards, so it is started with a thread for every core, and
    restricted. Threads are not pinned: TVM would pin them, and for good the calling thread too, to the first CPUs of the machine,
    whatever else runs there and whatever CPUs this process was given.
    """
    if getattr(_THREAD, "threads", None) == threads:
        return
    if not hasattr(_THREAD, "threads"):
        os.environ["TVM_NUM_THREADS"] = str(max(threads, physical_cores()))
        os.environ.setdefault("TVM_BIND_THREADS", "0")
    ffi().get_global_func("runtime.config_threadpool")(BIG_CORES, threads)
    actual = ffi().get_global_func("runtime.NumThreads")()
    if actual != threads:
        warnings.warn(f"TVM's thread pool was started with {actual} threads before; {threads} were asked for", RuntimeWarning, stacklevel=3)
    _THREAD.threads = threads


def default_threads(wanted: int | None) -> int:
    """`wanted` threads, but no more than the physical cores that this process may use."""
    cores = physical_cores()
    return min(wanted or cores, cores)


def aligned_bytes(size: int) -> np.ndarray:
    """Memory whose address is a multiple of 64, as kernels expect; NumPy promises 16. Pages are the system's until they are written."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def aligned_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array in `aligned_bytes`."""
    return aligned_bytes(tensor_bytes(dtype, shape)).view(dtype).reshape(shape)


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


def copy_finite(target: np.ndarray, source: np.ndarray) -> bool:
    """Copy an array; False at the first NaN or infinity. A piece is checked while it is still in the cache from being copied."""
    if not source.flags.c_contiguous or source.dtype.kind != "f":
        np.copyto(target, source, casting="no")
        return source.dtype.kind != "f" or _finite(target)
    target, source = target.reshape(-1), source.reshape(-1)
    for begin in range(0, source.size, PIECE):
        piece = target[begin : begin + PIECE]
        np.copyto(piece, source[begin : begin + PIECE], casting="no")
        if not _finite(piece):
            return False
    return True


def _finite(array: np.ndarray) -> bool:
    """Whether there is no NaN and no infinity: the largest and the smallest number would be one."""
    return array.size == 0 or isfinite(np.maximum.reduce(array, axis=None)) and isfinite(np.minimum.reduce(array, axis=None))


class Machine:
    """A loaded library with its memory: weights where their file is mapped, an arena, and a buffer for each input."""

    def __init__(self, path: Path, contents: Contents, inputs: list[tuple[tuple[int, ...], str]], threads: int) -> None:
        self.executable = load_executable(path)
        self._arena = aligned_bytes(arena_bytes(contents.places))
        memory = (*contents.weights, *(view(self._arena, place) for place in contents.places))
        self.executable["save_function"]("main", BOUND, True, *(ffi().from_dlpack(array) for array in memory))
        self._run = self.executable[BOUND]
        self._buffers = [aligned_empty(shape, dtype) for shape, dtype in inputs]
        self._tensors = [ffi().from_dlpack(buffer) for buffer in self._buffers]
        self._lock = threading.Lock()  # the buffers and the virtual machine serve one call at a time
        self._outputs: list[np.ndarray] | None = None  # not known before the first run
        self.threads = threads

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the right shapes and dtypes. The results belong to the caller.

        Raises
        ------
        NotFinite
        """
        with self._lock:
            result = self._invoke(arrays)
            if self._outputs is None:
                self._outputs = self._fixed(result)
            return [array.copy() for array in self._outputs or _arrays(result)]

    def _fixed(self, result: Any) -> list[np.ndarray]:
        """The results as arrays if they lie in the arena, where they will lie after every run; else none."""
        arrays, begin = _arrays(result), self._arena.ctypes.data
        inside = [begin <= array.ctypes.data and array.ctypes.data + array.nbytes <= begin + self._arena.nbytes for array in arrays]
        return arrays if all(inside) else []

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

    def _invoke(self, arrays: list[np.ndarray]) -> Any:
        thread_pool.use_threads(self.threads)
        for position, (buffer, array) in enumerate(zip(self._buffers, arrays, strict=True)):
            if not copy_finite(buffer, array):
                raise NotFinite(position)
        return self._run(*self._tensors)


def _arrays(result: Any) -> list[np.ndarray]:
    return [np.from_dlpack(tensor) for tensor in _flat(result)]


def _flat(result: Any) -> Iterator[Any]:
    if isinstance(result, ffi().Tensor):
        yield result
    else:
        for part in result:
            yield from _flat(part)
