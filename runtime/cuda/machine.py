"""A network on a GPU: its code, and one piece of memory for weights, intermediate tensors, inputs and outputs."""
from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from ...support.errors import TenfoldError
from ...targets.cuda_functions import Address
from .. import forks
from ..bounds import check_contents
from ..loaded_network import NotFinite
from ..weights import Contents
from .capability import gpu_for
from .code_file import CudaCode
from .context import Context, Memory, Module, Stream
from .graph import BoundLaunch, Graph
from .placement import Placement, padded

Tensor = tuple[tuple[int, ...], str]  # shape, dtype


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

    Attributes
    ----------
    gpu : Gpu
    context : Context
        Of the GPU.
    stream : Stream
        In which it runs by itself.
    lock : threading.Lock
        One call at a time has the ports of the graph.
    steps : list of list of BoundLaunch
        What is launched for each step of the network.

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
            if contents.pieces != 1 or not contents.steps:
                raise ValueError("it is not one fixed order of kernels")
        except ValueError as error:
            raise TenfoldError(f"{path.parent}: its weights do not fit the network: {error}; compile the network again") from None
        code = CudaCode.read(path)
        self.gpu = gpu_for(code.features, index)
        self.context, self._inputs, self._outputs = Context(self.gpu.index), list(inputs), list(outputs)
        placement = Placement.of(contents, code.routines, inputs, outputs)
        with self.context.current():
            self._module = _module(self.context, path, code)
            self.stream = Stream(self.context)
            self._memory = Memory(self.context, placement.bytes)
            self._own_ports = [self._memory.address + offset for offset in placement.ports]
            self._ports = [Address(address) for address in self._own_ports]
            self._load(contents, placement)
            self.steps = self._bind(path, contents, code, placement)
            launches = [launch for step in self.steps for launch in step]
            known = {id(port) for port in self._ports}
            self._at_ports = [position for position, launch in enumerate(launches) if not known.isdisjoint(map(id, launch.pointers))]
            self._graph = Graph(self.context, launches)
            self._graph.launch(self.stream)  # on zeros: the driver loads the kernels, and what fails, fails here
            self.stream.wait()
        self.renew()
        forks.know(self)

    settles = None  # see `forks`: the child can't use the GPU, and says so

    def renew(self) -> None:
        """See `forks`."""
        self.lock = threading.Lock()

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the right shapes and dtypes. The results belong to the caller.

        Raises
        ------
        NotFinite
        """
        for position, array in enumerate(arrays):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NotFinite(position)
        results = self.results()
        kept = [np.ascontiguousarray(array) for array in arrays]
        with self.lock, self.context.current():
            try:
                self.copy_in(kept)
                self.launch()
                self.copy_out(results)
            finally:
                self.stream.wait()  # nothing is copied any more when the arrays go
        return results

    def results(self) -> list[np.ndarray]:
        """Arrays for the outputs."""
        return [np.empty(shape, dtype) for shape, dtype in self._outputs]

    def copy_in(self, arrays: Sequence[np.ndarray]) -> None:
        """Put copies of arrays, contiguous ones, into the network's stream, to where it reads inputs by itself."""
        for address, array in zip(self._own_ports, arrays, strict=False):
            self.stream.copy_in(address, array.ctypes.data, array.nbytes)

    def copy_out(self, results: Sequence[np.ndarray]) -> None:
        """Put copies of the outputs, from where the network writes them by itself, into its stream."""
        for address, result in zip(self._own_ports[len(self._inputs) :], results, strict=False):
            self.stream.copy_out(result.ctypes.data, address, result.nbytes)

    def launch(self, stream: Stream | None = None, ports: Sequence[int] | None = None) -> None:
        """Put the kernels into a stream; the caller has the lock, and has made the context current.

        Parameters
        ----------
        stream : Stream, optional
            Default: the network's own.
        ports : sequence of int, optional
            Addresses on the GPU of the inputs and, behind them, the outputs. Default: those in its own memory.
        """
        wanted = list(ports or self._own_ports)
        if [port.value for port in self._ports] != wanted:
            for port, address in zip(self._ports, wanted, strict=True):
                port.value = address
            for position in self._at_ports:
                self._graph.update(position)
        self._graph.launch(stream or self.stream)

    def record(self, arrays: list[np.ndarray]) -> NoReturn:
        """Raise TenfoldError: kernels of a GPU are timed by its own clock."""
        raise TenfoldError("kernels of a GPU can't be listed as functions of this process")

    def _load(self, contents: Contents, placement: Placement) -> None:
        self.stream.fill(self._memory)
        for offset, weight in zip(placement.weights, contents.weights, strict=True):
            self.stream.copy_in(self._memory.address + offset, weight.ctypes.data, weight.nbytes)
        self.stream.wait()

    def _bind(self, path: Path, contents: Contents, code: CudaCode, placement: Placement) -> list[list[BoundLaunch]]:
        tensors = [*self._ports, *(Address(self._memory.address + offset) for offset in (*placement.weights, *placement.arena))]
        found = []
        for step in contents.steps:
            routine = code.routines.get(step.kernel)
            if routine is None:
                raise TenfoldError(f"{path}: it has no kernel {step.kernel!r}: compile the network again")
            operands, begin = [tensors[operand.position] for operand in step.operands], self._memory.address + placement.scratch
            for size in routine.scratch:
                operands.append(Address(begin))
                begin += padded(size)
            if any(position >= len(operands) for launch in routine.launches for position in launch.arguments):
                raise TenfoldError(f"{path}: kernel {step.kernel!r} takes more than the network gives it: compile the network again")
            found.append([BoundLaunch(self.context, self._module, launch, operands) for launch in routine.launches])
        return found


def _module(context: Context, path: Path, code: CudaCode) -> Module:
    if not code.fatbin:
        raise TenfoldError(f"{path}: it holds no machine code: compile the network again")
    try:
        return Module(context, code.fatbin)
    except TenfoldError as error:
        advice = "compile the network for it, or update the driver"
        raise TenfoldError(f"{path}: GPU {context.index} refuses the code: {error}; {advice}") from None
