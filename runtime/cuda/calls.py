"""Calls with inputs that are on the GPU already: kernels read them where they are, in the caller's stream."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...support.errors import TenfoldError
from ..manifest_fields import Port
from ..tensors import is_tensor
from .arrays import VECTOR, GpuArray, GpuView, is_on_gpu, plain, view_of
from .context import Event, Memory, Stream
from .machine import GpuMachine


def run_in_place(machine: GpuMachine, values: Sequence[Any], inputs: Sequence[Port], outputs: Sequence[Port]) -> list[Any]:
    """Run on arrays of the GPU, without a copy. It returns at once; the outputs are ready in the stream.

    Parameters
    ----------
    machine : GpuMachine
    values : sequence of array
        In the order of the inputs. Their numbers are not looked at: that would mean waiting for the GPU.
    inputs, outputs : sequence of Port
        Of the network.

    Returns
    -------
    list of array
        Tensors of torch where the first input is one; else of CuPy, where that is; else `GpuArray`.

    Raises
    ------
    TenfoldError
        Some inputs are on the GPU and others are not, or on another one; a shape or dtype is wrong; one is not contiguous.
    """
    arrays = [_on_gpu(value, port) for value, port in zip(values, inputs, strict=True)]
    views = [_checked(view_of(array), port) for array, port in zip(arrays, inputs, strict=True)]
    with machine.context.current(), machine.lock:
        for view, port in zip(views, inputs, strict=True):
            if prod(view.shape) and (index := machine.context.gpu_of(view.address)) != machine.context.index:
                where = "is not in a GPU's memory" if index is None else f"is on GPU {index}"
                here = f"the network is on GPU {machine.context.index}"
                raise TenfoldError(f"input {port.name!r} {where}, {here}: load(..., device=N) chooses")
        stream = Stream(machine.context, views[0].stream)
        for other in {view.stream for view in views} - {views[0].stream}:
            event = Event(machine.context)
            event.record(Stream(machine.context, other))
            stream.behind(event)
        made = [_output(machine, values[0], port, views[0].stream) for port in outputs]
        machine.launch(stream, [view.address for view in views] + [address for _, address in made])
    return [_like(values[0], result) for result, _ in made]


def _on_gpu(value: Any, port: Port) -> Any:
    if not is_on_gpu(value):
        raise TenfoldError(f"input {port.name!r} is not on the GPU and others are: give all inputs there, or none")
    return plain(value)


def _checked(view: GpuView, port: Port) -> GpuView:
    if view.shape != port.shape:
        raise TenfoldError(f"input {port.name!r} has shape {list(view.shape)}, expected {list(port.shape)}")
    if view.dtype != port.dtype:
        raise TenfoldError(f"input {port.name!r} has dtype {view.dtype}, expected {port.dtype}: convert it")
    if not view.contiguous or view.address % VECTOR:
        raise TenfoldError(f"input {port.name!r} is not contiguous, or not at a multiple of {VECTOR} bytes: give a contiguous copy")
    return view


def _output(machine: GpuMachine, value: Any, port: Port, stream: int) -> tuple[Any, int]:
    """Memory for an output, of the kind of an input, and its address."""
    if is_tensor(value):
        torch = sys.modules["torch"]
        tensor = torch.empty(port.shape, dtype=getattr(torch, port.dtype), device=value.device)
        return tensor, tensor.data_ptr()
    memory = Memory(machine.context, prod(port.shape) * np.dtype(port.dtype).itemsize)
    return GpuArray(memory, port.shape, port.dtype, stream), memory.address


def _like(value: Any, result: Any) -> Any:
    cupy = sys.modules.get("cupy")
    return cupy.asarray(result) if cupy is not None and isinstance(value, cupy.ndarray) else result
