"""What networks are timed on: this machine. Another one is a class with the same two methods."""
from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import TenfoldError
from ..runner.artifact import check_cpu
from ..runner.build import build_library, describe_target
from ..runner.data import random_inputs
from ..runner.manifest import LIBRARY, WEIGHTS
from ..runner.runtime import Machine
from ..runner.weights import map_weights

if TYPE_CHECKING:
    import tvm

    from ..frontends.network import TensorSpec
    from ..targets import Target

SECONDS, RUNS, WARM_UP = 0.003, 3, 2  # of one burst: for so long, but at least so many runs, after some that are not timed

Burst = Callable[[], float]


class Device(Protocol):
    """Compiles modules and gives back bursts: functions that run the module a few times and return the median, in milliseconds.

    `kernels` leaves out what a call takes besides its kernels, `network` is the whole call.
    """

    def kernels(self, mod: tvm.IRModule) -> Burst: ...

    def network(self, mod: tvm.IRModule) -> Burst: ...


class Host:
    """This machine.

    Parameters
    ----------
    target : Target
        Code for it must run here; its `cores` are the threads.

    Raises
    ------
    TenfoldError
        This machine lacks what the target's code needs.
    """

    def __init__(self, target: Target) -> None:
        try:
            check_cpu(f"target {target.name}", describe_target(target))
        except TenfoldError as error:
            raise TenfoldError(f"{error}: candidates can't be timed here") from None
        self.target = target

    def kernels(self, mod: tvm.IRModule) -> Burst:
        loaded = self._load(mod)
        calls = loaded.calls()

        def run() -> float:
            begin = time.perf_counter()
            for function, args in calls:
                function(*args)
            return time.perf_counter() - begin

        return _burst(run, loaded)

    def network(self, mod: tvm.IRModule) -> Burst:
        loaded = self._load(mod)
        return _burst(loaded.call, loaded)

    def _load(self, mod: tvm.IRModule) -> _Loaded:
        specs = _specs(mod)
        with tempfile.TemporaryDirectory(prefix="tenfold-") as name:  # both files stay mapped when they are gone
            folder = Path(name)
            built = build_library(mod, self.target, folder)
            contents = map_weights(folder / WEIGHTS)
            machine = Machine(folder / LIBRARY, contents, [(spec.shape, spec.dtype) for spec in specs], self.target.cores)
        return _Loaded(machine, list(random_inputs(specs).values()), frozenset(kernel["function"] for kernel in built.kernels))


@dataclass
class _Loaded:
    """A compiled module with arrays to run it on, and the names of its kernels."""

    machine: Machine
    inputs: list[np.ndarray]
    kernels: frozenset[str]

    def call(self) -> float:
        """Seconds of one call."""
        begin = time.perf_counter()
        self.machine(self.inputs)
        return time.perf_counter() - begin

    def calls(self) -> list[tuple[Any, tuple[Any, ...]]]:
        """The calls of kernels in one run, on the memory of that run: function, arguments."""
        return [(function, args) for name, function, args in self.machine.record(self.inputs) if name in self.kernels]


def _specs(mod: tvm.IRModule) -> list[TensorSpec]:
    from ..frontends.network import TensorSpec

    params = mod["main"].params
    return [TensorSpec(param.name, tuple(int(size) for size in param.ty.shape.values), str(param.ty.dtype)) for param in params]


def _burst(run: Callable[[], float], memory: Any) -> Burst:
    """The median of a few runs, each of which returns its seconds. `memory` is what the run holds by address only."""

    def burst() -> float:
        for _ in range(WARM_UP):
            run()
        times, end = [], time.perf_counter() + SECONDS
        while len(times) < RUNS or time.perf_counter() < end:
            times.append(run())
        return float(np.median(times)) * 1e3

    burst.memory = memory  # type: ignore[attr-defined]
    return burst
