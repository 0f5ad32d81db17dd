"""Arrays in the memory of a GPU, as callers have them: tensors of torch, CuPy and others. None of these is imported here."""
from __future__ import annotations

import sys
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..loaded_network import ffi
from ..tensors import is_tensor
from .context import Memory

INTERFACE = "__cuda_array_interface__"
CUDA, MANAGED = 2, 13  # kDLCUDA, kDLCUDAManaged
LEGACY = 1  # CU_STREAM_LEGACY: the default stream


@dataclass(frozen=True)
class GpuView:
    """What an array says of itself.

    Attributes
    ----------
    address : int
    shape : tuple of int
    dtype : str
        NumPy's name.
    contiguous : bool
        Whether its elements lie in order.
    stream : int
        Where what it holds is ready; what reads it there, or behind it, reads it right.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    contiguous: bool
    stream: int = LEGACY


class GpuArray:
    """An output in the memory of a GPU, for callers whose arrays are not torch's: ``cupy.asarray`` takes it without a copy."""

    def __init__(self, memory: Memory, shape: tuple[int, ...], dtype: str, stream: int) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._memory, self._stream = memory, stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self._memory.address if prod(self.shape) else 0, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None, "stream": self._stream, "version": 3}


def is_on_gpu(value: Any) -> bool:
    """Whether a value is an array in the memory of a GPU."""
    if isinstance(value, np.ndarray):
        return False
    if is_tensor(value):
        return bool(value.device.type == "cuda")
    return hasattr(value, INTERFACE) or (hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] in (CUDA, MANAGED))


def view_of(value: Any) -> GpuView:
    """Ask an array that is on a GPU.

    Raises
    ------
    TypeError
        It has no dtype that NumPy has; the message says what to do.
    """
    if is_tensor(value):
        dtype = str(value.dtype).removeprefix("torch.")
        stream = sys.modules["torch"].cuda.current_stream(value.device).cuda_stream
        return GpuView(value.data_ptr(), tuple(value.shape), dtype, value.is_contiguous(), stream)
    if hasattr(value, INTERFACE):
        said = getattr(value, INTERFACE)
        shape, dtype, strides = tuple(said["shape"]), np.dtype(said["typestr"]), said.get("strides")
        contiguous = strides is None or tuple(strides) == _strides(shape, dtype.itemsize)
        return GpuView(said["data"][0], shape, dtype.name, contiguous, said.get("stream") or LEGACY)
    tensor = ffi().from_dlpack(value)  # its producer lets the default stream wait for what it has under way
    shape = tuple(map(int, tensor.shape))
    return GpuView(tensor.data_ptr(), shape, str(tensor.dtype), bool(tensor.is_contiguous()))


def plain(value: Any) -> Any:
    """A tensor of torch whose elements lie in order, from an address that kernels can read vectors at; other arrays as they are."""
    if not is_tensor(value):
        return value
    tensor = value.detach().contiguous()
    return tensor.clone() if tensor.data_ptr() % VECTOR else tensor


VECTOR = 16  # bytes that kernels read at once


def _strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))
