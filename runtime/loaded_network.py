"""TVM's runtime without TVM's compiler: loads a compiled network in a fraction of the time that ``import tvm`` takes."""
from __future__ import annotations

import ctypes
import functools
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..support.errors import TenfoldError
from ..targets.detection import physical_cores
from ..targets.light_import import import_tvm_ffi
from . import forks, thread_pool
from .bounds import Tensor, check_contents
from .call_list import FUNCTION, StraightLine
from .memory_plan import ALIGNMENT, arena_bytes, tensor_bytes
from .weights import Contents, view

CPU = 1  # kDLCPU
POOLED = 2  # VirtualMachine.POOLED_ALLOCATOR
BOUND = "run"  # ``main`` with its memory bound to it
EXECUTABLE = "vm_load_executable"
SMALL = 4096  # bytes of an output below which it does not matter where it begins


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


_loading = forks.Guard()  # of the system's loader
_files: dict[Path, list[tuple[int, int]]] = {}  # (device, inode) of what was loaded from a path, the oldest first


def spelled(path: Path) -> str:
    """The path of a library, absolute, written in another way for each file that has been there in the life of this process.

    Under a name that it knows, the system's loader returns the library that it has, though a network may have been compiled anew into the
    same folder since; under another one it looks at the file.

    Raises
    ------
    OSError
        There is no such file.
    """
    path = path.resolve()
    stat = path.stat()
    files = _files.setdefault(path, [])
    if (stat.st_dev, stat.st_ino) not in files:
        files.append((stat.st_dev, stat.st_ino))
    return f"{path.parent}{'/.' * files.index((stat.st_dev, stat.st_ino))}/{path.name}"


def load_library(path: Path) -> Any:
    """An exported library.

    Raises
    ------
    TenfoldError
        If it can't be loaded, or is no compiled network.
    """
    try:
        library = ffi().load_module(spelled(path))
        for function in (EXECUTABLE, FUNCTION):
            library.get_function(function, query_imports=True)
        return library
    except (RuntimeError, AttributeError, OSError) as error:
        raise TenfoldError(f"{path}: can't be loaded as a compiled network: {str(error).strip().splitlines()[0]}") from None


def default_threads(wanted: int | None) -> int:
    """`wanted` threads, but no more than the physical cores that this process may use."""
    cores = physical_cores()
    return min(wanted or cores, cores)


def aligned_bytes(size: int) -> np.ndarray:
    """Memory whose address is a multiple of 64: no vector lies across two cache lines. Pages are the system's until they are written."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -ffi().from_dlpack(raw).data_ptr() % ALIGNMENT
    return raw[start : start + size]


def aligned_empty(shape: tuple[int, ...], dtype: str | np.dtype) -> np.ndarray:
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
    """A loaded library with its memory: weights where their file is mapped, and an arena.

    Raises
    ------
    TenfoldError
        The library can't be loaded, or what `contents` says of it does not fit it or the inputs and outputs (`bounds`).
    """

    def __init__(
        self, path: Path, contents: Contents, inputs: Sequence[Tensor], threads: int, outputs: Sequence[Tensor] | None = None
    ) -> None:
        try:
            check_contents(contents, inputs, outputs)
        except ValueError as error:
            raise TenfoldError(f"{path.parent}: its weights do not fit the network: {error}; compile the network again") from None
        with _loading.lock:
            self._library = load_library(path)
        self._arena = aligned_bytes(arena_bytes(contents.places))
        self._memory = (*contents.weights, *(view(self._arena, place) for place in contents.places))
        self._destinations = contents.destinations
        self._outputs = [
            (np.empty if tensor_bytes(each.dtype, shape) < SMALL else aligned_empty, shape, np.dtype(each.dtype))
            for each in contents.destinations
            for shape in [(contents.pieces * each.shape[0], *each.shape[1:]) if contents.pieces > 1 else each.shape]
        ]
        self._pieces = contents.pieces
        dtypes = [*(np.dtype(dtype) for _, dtype in inputs), *(dtype for _, _, dtype in self._outputs)]
        with _loading.lock, thread_pool.opened(spelled(path)) as handle:
            thread_pool.adopt(handle)
            self._line = StraightLine(handle, contents.steps, dtypes, self._memory, len(inputs), threads, self._pieces)
        self._run = functools.partial(self._library.get_function(FUNCTION, query_imports=True), self._line.address)
        self._is_straight = bool(contents.steps)
        self._inputs = inputs
        self._buffers: dict[int, np.ndarray] = {}  # for inputs that kernels can't read where they are
        self.threads = threads
        self._executable: Any = None
        self.renew()
        forks.know(self)

    @property
    def executable(self) -> Any:
        """The virtual machine, with what `main` takes besides inputs and outputs bound to its function `BOUND`."""
        if self._executable is None:
            executable = self._library[EXECUTABLE]()
            executable["vm_initialization"](CPU, 0, POOLED)
            executable["save_function"]("main", BOUND, True, *(ffi().from_dlpack(array) for array in self._memory))
            self._executable = executable
        return self._executable

    @property
    def settles(self) -> threading.Lock | None:
        """See `forks`. Every call writes all that it reads of the memory; the virtual machine has a state, and TVM locks of its own."""
        return None if self._is_straight else self._lock

    def renew(self) -> None:
        """See `forks`."""
        self._lock = threading.Lock()  # the arena and the virtual machine serve one call at a time
        self._executable = None

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the right shapes and dtypes. The results belong to the caller.

        Raises
        ------
        NotFinite
        """
        with self._lock:
            readable, written = self._ports(arrays)
            bad = self._run(*readable, *written)
            if bad:
                raise NotFinite(bad - 1)
            if self._is_straight:
                return written
            # Inputs, constants, views: none of them is the caller's to keep.
            results = [np.from_dlpack(tensor).copy() for tensor in _flat(self._interpret(readable, written))]
        for destination, array in zip(self._destinations, written, strict=True):
            results.insert(destination.position, array)
        return results

    def record(self, arrays: list[np.ndarray]) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """Run once on the virtual machine, and list every function that it called: its name, itself, and its arguments.

        A batch that runs in parts is listed part by part.

        The recorder stays in place: use the machine no more for anything else.
        """
        calls = []

        def note(function: Any, name: str, before: bool, _result: Any, *args: Any) -> None:
            if before:
                calls.append((name, function, args))

        with self._lock:
            thread_pool.use_threads(self.threads)
            self.executable["set_instrument"](ffi().convert_func(note))
            readable, written = self._ports(arrays)
            for piece in range(self._pieces):
                self._interpret(*([_part(array, piece, self._pieces) for array in each] for each in (readable, written)))
        return list(calls)

    def _ports(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Inputs as kernels can read them, and outputs to write."""
        readable = [array if array.flags.carray else self._copied(position, array) for position, array in enumerate(arrays)]
        return readable, [empty(shape, dtype) for empty, shape, dtype in self._outputs]

    def _interpret(self, readable: list[np.ndarray], written: list[np.ndarray]) -> Any:
        """Run on the virtual machine; what ``main`` returns: the outputs that have no destination."""
        from_dlpack = ffi().from_dlpack
        return self.executable[BOUND](*map(from_dlpack, readable), *map(from_dlpack, written))

    def _copied(self, position: int, array: np.ndarray) -> np.ndarray:
        """An input that kernels can't read where it is: out of order, at an odd address, or read-only, which DLPack does not have."""
        if position not in self._buffers:
            self._buffers[position] = aligned_empty(*self._inputs[position])
        np.copyto(self._buffers[position], array, casting="no")
        return self._buffers[position]


def _part(array: np.ndarray, piece: int, pieces: int) -> np.ndarray:
    if pieces == 1:
        return array
    size = len(array) // pieces
    return array[piece * size : (piece + 1) * size]


def _flat(result: Any) -> Iterator[Any]:
    if isinstance(result, ffi().Tensor):
        yield result
    else:
        for part in result:
            yield from _flat(part)
