"""The process itself as a device."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.artifact import Runnable
from ...runtime.cuda.machine import GpuMachine
from ...runtime.cuda.timing import time_network
from ...runtime.loaded_network import NotFinite
from ...runtime.machines import open_machine
from ...runtime.manifest import WEIGHTS
from ...runtime.requirements import lacking
from ...runtime.weights import map_weights
from ...support.errors import TenfoldError
from ...support.files.regular import reason
from ...support.interrupts import disguised
from ...targets.detection import physical_cores
from ...targets.gpu_target import CUDA
from ..data import random_inputs
from .device import HERE, KERNELS, NETWORK, Handle, Keeping, Program, arrays_in_order
from .timing import time_runs

BURST = 10  # runs of a GPU, where none were counted out


@dataclass
class _Loaded:
    """A network in memory, and what is called to time it, once that is known."""

    program: Program
    machine: Runnable
    timed: str
    call: Callable[[], Any] | None = None

    def times(self, runs: int | None) -> list[float]:
        """Milliseconds of single runs; of a GPU, those of all its kernels together, by its own clock."""
        arrays = list(random_inputs(self.program.inputs).values())
        if isinstance(self.machine, GpuMachine):
            return time_network(self.machine, arrays, BURST if runs is None else runs).kernels
        if self.call is None:
            self.call = self._kernels(arrays) if self.timed == KERNELS else lambda: self.machine(arrays)
        return time_runs(self.call, runs)

    def _kernels(self, arrays: list[np.ndarray]) -> Callable[[], Any]:
        calls = [(function, args) for name, function, args in self.machine.record(arrays) if name in self.program.kernels]

        def run(memory: object = arrays) -> None:  # the arguments hold it by address only
            for function, args in calls:
                function(*args)

        return run


class Here(Keeping[_Loaded]):
    """The process itself. Code that crashes takes it down.

    Parameters
    ----------
    gpu : int, optional
        The GPU that runs what is for GPUs, by the driver's count. Default: the first that can.
    """

    name = HERE
    is_real = True

    def __init__(self, gpu: int | None = None) -> None:
        super().__init__()
        self.gpu = gpu
        if gpu is not None:
            self.name = f"{CUDA}:{gpu}"

    @property
    def cores(self) -> int:
        return physical_cores()

    def describe(self) -> str:
        return self.name

    def check(self, target: Mapping[str, Any]) -> str | None:
        if self.gpu is not None and target["architecture"] != CUDA:
            return f"{target['name']} is {target['architecture']}, no GPU"
        return lacking(target, self.gpu)

    def load(self, program: Program, timed: str = NETWORK) -> Handle:
        if timed not in (KERNELS, NETWORK):
            raise TenfoldError(f"what is timed is {KERNELS!r} or {NETWORK!r}, not {timed!r}")
        try:
            contents = map_weights(program.folder / WEIGHTS)
            inputs, outputs = ([(port.shape, port.dtype) for port in ports] for ports in (program.inputs, program.outputs))
            machine = open_machine(program.folder, contents, inputs, program.threads, outputs, self.gpu)
        except (OSError, MemoryError) as error:
            raise TenfoldError(f"{program.folder}: can't be loaded: {reason(error)}") from None
        return self._keep(_Loaded(program, machine, timed))

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        loaded = self._of(handle)
        arrays, ports = arrays_in_order(loaded.program, inputs), loaded.program.outputs
        try:
            results = loaded.machine(arrays)
        except NotFinite as error:
            raise TenfoldError(f"input {loaded.program.inputs[error.position].name!r} holds NaN or infinity") from None
        except Exception as error:  # of TVM's runtime, which has many
            if disguised(error):
                raise KeyboardInterrupt from None
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TenfoldError(f"the compiled code failed: {line}") from None
        forms = [(tuple(result.shape), str(result.dtype)) for result in results]
        if forms != [(port.shape, port.dtype) for port in ports]:
            raise TenfoldError("the compiled code has other outputs than the network: compile the network again")
        return {port.name: result for port, result in zip(ports, results, strict=True)}

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        return self._of(handle).times(runs)
