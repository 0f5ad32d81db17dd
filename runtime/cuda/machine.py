"""A network on a GPU: its code, and one piece of memory for weights, intermediate tensors, inputs and outputs."""
from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from ...support.errors import TenfoldError
from ..bounds import check_contents
from ..loaded_network import NotFinite
from ..memory_plan import tensor_bytes
from ..weights import Contents
from .capability import gpu_for
from .code_file import CudaCode
from .context import BoundLaunch, Context, Memory, Pointer
from .launches import Routine

Tensor = tuple[tuple[int, ...], str]  # shape, dtype
ALIGNED = 256  # bytes: what the driver gives, and vectors of any kernel need


class GpuMachine:
    """A loaded network with its memory. All kernels of a call are launched at once, as a graph.

    Parameters
    ----------
    path : Path
        model.cuda.
    contents : Contents
        The file of weights beside it.
    inputs, outputs : sequence of (tuple of int, str)
        Shapes and dtypes.
    index : int, optional
        Of the GPU. Default: the first that can run the code.

    Raises
    ------
    TenfoldError
        The GPU has too little memory, or the code does not fit it or the weights.
    """

    threads = 1

    def __init__(self, path: Path, contents: Contents, inputs: Sequence[Tensor], outputs: Sequence[Tensor],
                 index: int | None = None) -> None:
        try:
            check_contents(contents, inputs, outputs)
        except ValueError as error:
            raise TenfoldError(f"{path.parent}: its weights do not fit the network: {error}; compile the network again") from None
        code = CudaCode.read(path)
        self._context, self._inputs, self._outputs = Context(gpu_for(code.features, index).index), list(inputs), list(outputs)
        self._lock = threading.Lock()  # one call at a time has the memory
        self._context.use()
        self._module = self._context.module(code.fatbin)
        self._stream = self._context.stream()
        self._memory, self._addresses = self._place(contents, code.routines)
        self._load(contents)
        self._launches = self._bind(path, contents, code.routines)
        self._stream.capture()
        for launch in self._launches:
            launch.into(self._stream)
        self._graph = self._stream.captured()

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the right shapes and dtypes. The results belong to the caller.

        Raises
        ------
        NotFinite
        """
        for position, array in enumerate(arrays):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NotFinite(position)
        results = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        with self._lock:
            self._context.use()
            kept = [np.ascontiguousarray(array) for array in arrays]
            for address, array in zip(self._addresses, kept, strict=False):
                self._stream.copy_in(address, array.ctypes.data, array.nbytes)
            self._graph.launch(self._stream)
            for address, result in zip(self._addresses[len(arrays) :], results, strict=False):
                self._stream.copy_out(result.ctypes.data, address, result.nbytes)
            self._stream.wait()
        return results

    def record(self, arrays: list[np.ndarray]) -> NoReturn:
        """Raise TenfoldError: kernels of a GPU are timed by its own clock."""
        raise TenfoldError("kernels of a GPU can't be listed as functions of this process")

    def _place(self, contents: Contents, routines: Mapping[str, Routine]) -> tuple[Memory, list[int]]:
        """The memory, and the addresses of inputs, outputs, weights, intermediate tensors and the buffers of routines."""
        arena = max((place.end for place in contents.places), default=0)
        scratch = max((sum(map(_padded, routine.scratch)) for routine in routines.values()), default=0)
        sizes = [tensor_bytes(dtype, shape) for shape, dtype in (*self._inputs, *self._outputs)]
        sizes += [weight.nbytes for weight in contents.weights]
        offsets = np.cumsum([0, *map(_padded, sizes)])
        end = int(offsets[-1])
        memory = self._context.allocate(end + _padded(arena) + scratch)
        addresses = [memory.address + int(offset) for offset in offsets[:-1]]
        addresses += [memory.address + end + place.offset for place in contents.places]
        self._scratch = memory.address + end + _padded(arena)
        return memory, addresses

    def _load(self, contents: Contents) -> None:
        begin = len(self._inputs) + len(self._outputs)
        for address, weight in zip(self._addresses[begin:], contents.weights, strict=False):
            self._stream.copy_in(address, weight.ctypes.data, weight.nbytes)
        self._stream.wait()

    def _bind(self, path: Path, contents: Contents, routines: Mapping[str, Routine]) -> list[BoundLaunch]:
        found = []
        for step in contents.steps:
            routine = routines.get(step.kernel)
            if routine is None:
                raise TenfoldError(f"{path}: it has no kernel {step.kernel!r}: compile the network again")
            operands = [Pointer(self._addresses[operand.position]) for operand in step.operands]
            begin = self._scratch
            for size in routine.scratch:
                operands.append(Pointer(begin))
                begin += _padded(size)
            if any(position >= len(operands) for launch in routine.launches for position in launch.arguments):
                raise TenfoldError(f"{path}: kernel {step.kernel!r} takes more than the network gives it: compile the network again")
            found += [BoundLaunch(self._module, launch, operands) for launch in routine.launches]
        return found


def _padded(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
