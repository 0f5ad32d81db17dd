"""A case's network, on the GPU or under the emulator."""
from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tenfold.runtime.cuda.graph import Graph
from tenfold.runtime.cuda.machine import GpuMachine
from tenfold.runtime.manifest import Port
from tenfold.runtime.weights import map_weights

from .case import CASES, Case, unpack_files
from .events import timed

Runs = Callable[[int], float]  # so many runs one after the other -> milliseconds of all together


class Network(Protocol):
    """What a step does with a network."""

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Run it once, inputs and outputs in the host's memory."""

    def ways(self) -> dict[str, Runs]:
        """What can be timed of it, with its tensors in the GPU's memory."""


class OnGpu:
    """A network on the first GPU."""

    def __init__(self, case: Case, folder: Path) -> None:
        contents = map_weights(folder / "weights.bin")
        ports = ([(shape, dtype) for _, shape, dtype in each] for each in (case.inputs, case.outputs))
        self.machine = GpuMachine(folder / "model.cuda", contents, *ports)
        steps = zip(contents.steps, self.machine.steps, strict=True)
        self._kernels = [launch for step, launches in steps if case.macs.get(step.kernel) for launch in launches]

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return self.machine(arrays)

    def ways(self) -> dict[str, Runs]:
        machine = self.machine
        with machine.context.current():
            kernels = Graph(machine.context, self._kernels)

        def one_by_one() -> None:
            for step in machine.steps:
                for launch in step:
                    launch.into(machine.stream)

        launches = {"graph": machine.launch, "kernels": lambda: kernels.launch(machine.stream), "launches": one_by_one}
        return {name: timed(machine, launch) for name, launch in launches.items()}


class OnEmulator:
    """A network under the emulator: results, and no times."""

    def __init__(self, case: Case, folder: Path) -> None:
        from tenfold.runner.devices.device import Program
        from tenfold.runner.devices.emulated_cuda import EmulatedCuda

        self._case, self._device = case, EmulatedCuda()
        inputs, outputs = (tuple(Port(*port) for port in ports) for ports in (case.inputs, case.outputs))
        self._handle = self._device.load(Program(folder, inputs, outputs, 1))

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        found = self._device.run(self._handle, {name: array for (name, _, _), array in zip(self._case.inputs, arrays, strict=True)})
        return [found[name] for name, _, _ in self._case.outputs]

    def ways(self) -> dict[str, Runs]:
        return {}


def open_network(root: Path, case: Case, emulated: bool) -> Network:
    """Load the network of a case."""
    with tempfile.TemporaryDirectory(prefix="tenfold-box-") as name:
        folder = Path(name)
        unpack_files(root / CASES / case.folder, folder)
        kind: Any = OnEmulator if emulated else OnGpu
        return kind(case, folder)  # weights that are mapped stay, the file's name is needed no more
