"""The latency table: milliseconds of layers, dense and factored, on a target, by shape and not by network.

What was measured once is a record in ``latencies/``, keyed by the layer's geometry, the chain's structure, the activation behind it, the
machine, the threads and the schedules: for a second model with the same layers nothing is left to measure. Records of the same form that
are shipped with the package are read first.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...factorization import FactorChain, Layer
from ...support.code_version import code_version
from ...support.errors import TenfoldError
from ...support.interrupts import disguised
from ...support.progress import Progress, reporter
from ..store import LATENCIES, Store, cache_folder, is_number
from .stopwatch import QUIET_RATIO, Stopwatch
from .timer import gpu_of, model_of, records_of

if TYPE_CHECKING:
    import os

    import tvm

    from ...targets import Target
    from .timer import Timer

KEY = ("layer", "chain", "steps", "machine", "threads", "schedules")
SHIPPED = Path(__file__).parents[2] / LATENCIES
MIN_MS = 1e-6  # milliseconds that a record can state
BATCH_SIZE = 12  # layers that are timed against each other
YARDSTICK = Layer("yardstick", "conv2d", (64, 64, 3, 3), padding=(1, 1, 1, 1), input_size=(14, 14), output_size=(14, 14))



@dataclass(frozen=True)
class TimedLayer:
    """What is timed: a layer, the outline of a chain in its place (None: dense), and the steps behind it (`epilogues`)."""

    layer: Layer
    chain: FactorChain | None = None
    steps: tuple[str, ...] = ()
    on_bytes: bool = False  # from bytes to bytes, as a layer of a quantized network

    def key(self) -> dict[str, Any]:
        """Its part of a record's key: no names, no weights."""
        layer = {**_layer_key(self.layer), **({"precision": "int8"} if self.on_bytes else {})}
        return {"layer": layer, "chain": _chain_key(self.chain), "steps": list(self.steps)}

    def module(self) -> tvm.IRModule:
        """To compile."""
        from ...passes.byte_layer_module import byte_layer_module
        from ...passes.layer_module import layer_module

        return (byte_layer_module if self.on_bytes else layer_module)(self.layer, self.chain, self.steps)


@dataclass(frozen=True)
class TimedCrossing:
    """What is timed: float32 to bytes, or the other way, of as many numbers as `passes.byte_layer_module.CROSSING` has."""

    to_bytes: bool

    def key(self) -> dict[str, Any]:
        """Its part of a record's key."""
        return {"layer": "quantize" if self.to_bytes else "dequantize", "chain": None, "steps": []}

    def module(self) -> tvm.IRModule:
        """To compile."""
        from ...passes.byte_layer_module import crossing_module

        return crossing_module(self.to_bytes)


Timed = TimedLayer | TimedCrossing


class LatencyTable:
    """Milliseconds of layers on one target.

    Parameters
    ----------
    target : Target
    device : Timer
        Measures what the table does not have yet.
    folder : path, optional
        Of the table's file; default: ``latencies`` in the cache.
    """

    def __init__(self, target: Target, device: Timer, folder: str | os.PathLike[str] | None = None) -> None:
        self.device = device
        name = re.sub(r"[^\w-]+", "-", str(target.tvm.get("mcpu", target.name))) + ".jsonl"
        machine = {"tvm": target.tvm, "name": target.description}
        if (model := model_of(device)) is not None:
            machine["modelled"] = model
        if records := records_of(device):
            machine["tuned"] = records
        if (gpu := gpu_of(device)) is not None:
            machine["gpu"] = gpu  # code for one runs on others
        schedules = code_version("schedules", "passes", "codegen", package="apache-tvm")
        self._context = {"machine": machine, "threads": target.cores, "schedules": schedules}
        self._store = Store(Path(folder or cache_folder() / LATENCIES) / name, KEY, [SHIPPED / name], _is_sound)
        self._stopwatch: Stopwatch | None = None
        self._failures: dict[str, str] = {}

    def ms(self, timed_layers: Sequence[Timed], progress: Progress | None = None) -> list[float]:
        """Of each layer, on the machine as fast as it was when the table was opened.

        Those that are not in the table are measured, each shape once. So are those that were measured while the machine was disturbed, if
        it is quiet now. What can't be compiled takes forever (`failure` says why); it is tried again when the table is opened again.
        """
        say = reporter(progress)
        found = {str(timed.key()): (timed, self._store.get(self._key(timed))) for timed in timed_layers if self.failure(timed) is None}
        waiting = [timed for timed, record in found.values() if record is None]
        disturbed = [timed for timed, record in found.values() if record is not None and self._disturbed(record)]
        if disturbed and self.stopwatch().quiet():
            waiting += disturbed
        for start in range(0, len(waiting), BATCH_SIZE):
            say("timing candidates", start, len(waiting))
            self._measure(waiting[start : start + BATCH_SIZE])
        records = [None if self.failure(timed) else self._store.get(self._key(timed)) for timed in timed_layers]
        return [inf if record is None else record["ms"] * self.yardstick / record["yardstick_ms"] for record in records]

    def failure(self, timed: Timed) -> str | None:
        """Why a layer could not be compiled, in a line."""
        return self._failures.get(str(timed.key()))

    @cached_property
    def yardstick(self) -> float:
        """Milliseconds of the yardstick that all times of the table are scaled to: the fastest known."""
        return self._fastest() or self.stopwatch().fastest

    def stopwatch(self) -> Stopwatch:
        """The one that all of the table's times come from."""
        if self._stopwatch is None:
            from ...passes.layer_module import layer_module

            self._stopwatch = Stopwatch(self.device.kernels(layer_module(YARDSTICK)), self._fastest())
        return self._stopwatch

    def _measure(self, timed_layers: Sequence[Timed]) -> None:
        stopwatch, modules = self.stopwatch(), {}
        for timed in timed_layers:
            try:
                modules[timed] = self.device.kernels(timed.module())
            except TenfoldError:
                raise
            except Exception as error:  # of the compiler: whatever TVM and LLVM raise
                if disguised(error):
                    raise KeyboardInterrupt from None
                self._failures[str(timed.key())] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if not modules:
            return
        times = stopwatch.time(list(modules.values()))
        for timed, ms in zip(modules, times.ms, strict=True):
            self._store.put({**self._key(timed), "ms": round(ms, 6), "yardstick_ms": round(times.yardstick, 6)})

    def _disturbed(self, record: dict[str, Any]) -> bool:
        fastest = self._fastest() or record["yardstick_ms"]
        return record["yardstick_ms"] > QUIET_RATIO * fastest

    def _fastest(self) -> float | None:
        """Of the yardstick in all records of this machine."""
        here = [record["yardstick_ms"] for record in self._store if all(record[name] == value for name, value in self._context.items())]
        return min(here, default=None)

    def _key(self, timed: Timed) -> dict[str, Any]:
        return {**timed.key(), **self._context}


def _is_sound(record: Mapping[str, Any]) -> bool:
    return all(is_number(record.get(name), MIN_MS) for name in ("ms", "yardstick_ms"))


def _layer_key(layer: Layer) -> dict[str, Any]:
    names = ("kind", "weight_shape", "stride", "padding", "dilation", "groups", "input_size", "batch")
    values = ((name, getattr(layer, name)) for name in names)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def _chain_key(chain: FactorChain | None) -> list[dict[str, Any]] | None:
    """Structure only. A permutation costs what it costs in any order; where it can be pushed into weights depends on groups alone."""
    if chain is None:
        return None
    stages = []
    for stage in chain.stages:
        geometry = {name: list(getattr(stage, name)) for name in ("stride", "padding", "dilation")}
        extra = {"bias": stage.bias is not None, "permuted": stage.input_permutation is not None}
        stages.append({"weight": list(stage.weight.shape), **geometry, "groups": stage.groups, **extra})
    return [*stages, {"permuted": chain.permutation is not None}]
