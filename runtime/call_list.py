"""How a loaded network is called: one function (`codegen/call_list.cc`), and the arguments of all its kernels, laid out once.

The structures are those of the C++ file, of DLPack and of TVM's FFI.
"""
from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..support.errors import TenfoldError
from . import thread_pool
from .memory_plan import Operand, Step, tensor_bytes
from .weights import KINDS

FUNCTION = "tenfold_run"
CPU = 1  # kDLCPU
TENSOR = 7  # kTVMFFIDLTensorPtr


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Any(ctypes.Structure):
    """TVMFFIAny."""

    _fields_ = [("type_index", ctypes.c_int32), ("padding", ctypes.c_uint32), ("pointer", ctypes.c_void_p)]


class _Call(ctypes.Structure):
    _fields_ = [("kernel", ctypes.c_void_p), ("arguments", ctypes.c_void_p), ("count", ctypes.c_int64)]


class _Place(ctypes.Structure):
    _fields_ = [("tensor", ctypes.c_void_p), ("port", ctypes.c_int64), ("bytes", ctypes.c_int64)]


class _Line(ctypes.Structure):
    _fields_ = [
        ("use_threads", ctypes.c_void_p),
        ("launch", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("pieces", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("calls", ctypes.c_int64),
        ("places", ctypes.c_int64),
        ("call", ctypes.c_void_p),
        ("place", ctypes.c_void_p),
    ]


class StraightLine:
    """The steps of a network as its library runs them.

    Parameters
    ----------
    library : ctypes.CDLL
        With the kernels.
    steps : sequence of Step
        May be empty: then a call checks the inputs, and that is all.
    ports : sequence of dtype
        Of the inputs and outputs: the first tensors that the steps know.
    memory : sequence of ndarray
        The tensors behind them, each in order. They must stay where they are as long as this lives.
    inputs : int
        How many of the ports are inputs.
    threads : int
    pieces : int
        Of the batch: the steps are those of one, and run for each.

    Raises
    ------
    TenfoldError
        The library lacks a kernel. That operands are of the tensors, and no larger, `bounds` has seen to.

    Attributes
    ----------
    address : int
        Of the line: the first argument of `FUNCTION`.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        steps: Sequence[Step],
        ports: Sequence[np.dtype],
        memory: Sequence[np.ndarray],
        inputs: int,
        threads: int,
        pieces: int = 1,
    ) -> None:
        self._kept: list[object] = [*memory]  # what is held by address only
        self._dtypes = [*ports, *(array.dtype for array in memory)]
        self._data = [*(None for _ in ports), *(array.ctypes.data for array in memory)]
        self._tensors: dict[Operand, _Tensor] = {}
        calls = [self._call(library, step) for step in steps]
        told = {operand: tensor for operand, tensor in self._tensors.items() if operand.position < len(ports)}
        places = [_Place(ctypes.addressof(tensor), operand.position, self._bytes(operand)) for operand, tensor in told.items()]
        arrays = self._array(calls, _Call), self._array(places, _Place)
        line = _Line(*thread_pool.functions(), threads, pieces, inputs, len(calls), len(places), *arrays)
        self._kept.append(line)
        self.address = ctypes.addressof(line)

    def _call(self, library: ctypes.CDLL, step: Step) -> _Call:
        try:
            kernel = ctypes.cast(getattr(library, f"__tvm_ffi_{step.kernel}"), ctypes.c_void_p)
        except AttributeError:
            raise TenfoldError(f"{library._name}: it has no kernel {step.kernel!r}: compile the network again") from None
        arguments = [_Any(TENSOR, 0, ctypes.addressof(self._tensor(operand))) for operand in step.operands]
        return _Call(kernel, self._array(arguments, _Any), len(arguments))

    def _bytes(self, operand: Operand) -> int:
        return tensor_bytes(self._dtypes[operand.position], operand.shape)

    def _tensor(self, operand: Operand) -> _Tensor:
        if operand not in self._tensors:
            dtype, dims = self._dtypes[operand.position], len(operand.shape)
            strides = [int(np.prod(operand.shape[i + 1 :])) for i in range(dims)]
            shape = self._array(operand.shape, ctypes.c_int64), self._array(strides, ctypes.c_int64)
            kind = KINDS[dtype.kind], 8 * dtype.itemsize, 1
            self._tensors[operand] = _Tensor(self._data[operand.position], CPU, 0, dims, *kind, *shape, 0)
        return self._tensors[operand]

    def _array(self, items: Sequence[object], kind: Any) -> int:
        """Keep an array of these items; its address."""
        array = (kind * len(items))(*items)
        self._kept.append(array)
        return ctypes.addressof(array)
