"""A device that runs ``tenfold serve`` or ``tenfold-device``: what is compiled here is sent there, run and timed."""
from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ...runtime.memory_plan import tensor_bytes
from ...support.errors import TenfoldError
from ...targets import CpuTarget
from .device import NETWORK, Closing, Handle, Program, arrays_in_order
from .session import Refused, Session


class Remote(Closing):
    """A device at the other end of a session.

    Parameters
    ----------
    session : Session
        The device's from now on.
    """

    is_real = True

    def __init__(self, session: Session) -> None:
        self.session = session
        self.name = session.address
        self._programs: dict[Handle, Program] = {}
        self._names = (f"module{number}" for number in itertools.count())

    @property
    def cores(self) -> int:
        return self.session.cores

    @property
    def target(self) -> CpuTarget:
        """The device as a target, as it sees itself; TenfoldError where it can't tell."""
        return self.session.target

    def describe(self) -> str:
        return ", ".join(filter(None, (self.name, self.session.cpu, *self.session.gpus)))

    def check(self, target: Mapping[str, Any]) -> str | None:
        try:
            self.session.ask("check", target=dict(target))
        except Refused as error:
            return error.words
        return None

    def load(self, program: Program, timed: str = NETWORK) -> Handle:
        name = next(self._names)
        for file in program.files:
            self.session.send(program.folder / file, f"{name}/{file}")
        ports = {"inputs": [asdict(port) for port in program.inputs], "outputs": [asdict(port) for port in program.outputs]}
        options = {"kernels": sorted(program.kernels), "threads": program.threads, "part": timed}
        handle = self.session.ask("load", folder=name, **ports, **options)
        self._programs[handle] = program
        return handle

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if handle not in self._programs:
            raise TenfoldError(f"device {self.name}: it has no network {handle}: it was dropped, or the device was closed")
        program = self._programs[handle]
        files = []
        for array in arrays_in_order(program, inputs):
            files.append(name := next(self._names))
            self.session.send_bytes(np.ascontiguousarray(array).tobytes(), name)
        sizes = [tensor_bytes(port.dtype, port.shape) for port in program.outputs]
        content = self.session.fetch("run", sum(sizes), module=handle, inputs=files)
        results, offset = {}, 0
        for port, size in zip(program.outputs, sizes, strict=True):
            results[port.name] = np.ndarray(port.shape, port.dtype, content, offset).copy()
            offset += size
        return results

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        return self.session.ask("time", module=handle, runs=runs)

    def drop(self, handle: Handle) -> None:
        self._programs.pop(handle, None)
        self.session.drop(handle)

    def close(self) -> None:
        self._programs.clear()
        self.session.close()
