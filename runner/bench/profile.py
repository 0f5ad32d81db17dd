"""Where the time of a compiled network goes: milliseconds of each kernel, and the share of the machine's peak that it reaches."""
from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...runtime.artifact import Artifact
from ...runtime.cuda.code_file import CudaCode
from ...runtime.cuda.machine import GpuMachine
from ...runtime.cuda.resources import KernelResources, arch_for, resources_of
from ...runtime.cuda.timing import time_network, time_steps
from ...runtime.loading import load
from ...support.errors import TenfoldError
from .measure import wait_until_quiet, warm_up

RUNS = 50


@dataclass(frozen=True)
class KernelTime:
    """One kernel.

    Attributes
    ----------
    function : str
        Its name: the operators that it fuses.
    layers : tuple of str
        The convolutions and dense layers that it computes.
    output : tuple of int
        Shape of what it writes, of one piece of the batch.
    ms : float
        Median, all pieces together.
    share : float
        Of the time of a run.
    gflops : float or None
        Billions of floating-point operations a second, two for each multiply-accumulate of its layers; None without layers.
    peak_share : float or None
        Of the machine's peak; None where that, or `gflops`, is unknown.
    launches : tuple of KernelResources
        On a GPU: what it launches.
    """

    function: str
    layers: tuple[str, ...]
    output: tuple[int, ...]
    ms: float
    share: float
    gflops: float | None
    peak_share: float | None
    launches: tuple[KernelResources, ...] = ()


@dataclass(frozen=True)
class Profile:
    """All kernels of a network in the order in which they run.

    Attributes
    ----------
    kernels : tuple of KernelTime
    total_ms : float
        Median of a whole call, measured in the same rounds.
    peak_gflops : float or None
        What multiply-adds on registers alone reach on the same threads.
    """

    kernels: tuple[KernelTime, ...]
    total_ms: float
    peak_gflops: float | None

    @property
    def kernels_ms(self) -> float:
        """The sum over all kernels."""
        return sum(kernel.ms for kernel in self.kernels)


def profile(artifact: Artifact, inputs: Mapping[str, np.ndarray], runs: int = RUNS, peak_gflops: float | None = None) -> Profile:
    """Time each kernel of a network.

    The calls of one run are recorded with their arguments, then made one by one, in their order and on the same memory: caches are as
    in a run. Whole calls are timed in between. On a GPU its own clock is read between kernels, which are launched one by one for that.

    Parameters
    ----------
    artifact : Artifact
        Loaded once more for this: what is recorded runs slower.
    inputs : dict of str to ndarray
    runs : int
    peak_gflops : float, optional
        See `measure_peak`.

    Raises
    ------
    TenfoldError
        The library calls other kernels than its manifest states.
    """
    if isinstance(artifact.machine, GpuMachine):
        return _profile_on_gpu(artifact, artifact.machine, inputs, runs)
    facts = artifact.manifest.kernels
    twin = load(artifact.folder, artifact.threads)
    calls = [(function, args) for name, function, args in twin.record(inputs) if name in {fact["function"] for fact in facts}]
    if len(calls) != artifact.manifest.pieces * len(facts):
        raise TenfoldError(f"{artifact.folder}: it calls {len(calls)} kernels, its manifest states {len(facts)}: compile the network again")
    seconds, totals = np.zeros((runs, len(facts))), np.zeros(runs)
    wait_until_quiet()
    warm_up(lambda: artifact(inputs))
    for row in range(runs):
        begin = time.perf_counter()
        artifact(inputs)
        totals[row] = time.perf_counter() - begin
        for column, (function, args) in enumerate(calls):
            begin = time.perf_counter()
            function(*args)
            seconds[row, column % len(facts)] += time.perf_counter() - begin
    total, medians = float(np.median(totals)) * 1e3, np.median(seconds, axis=0) * 1e3
    pieces = artifact.manifest.pieces
    times = tuple(_time(fact, float(ms), total, peak_gflops, pieces) for fact, ms in zip(facts, medians, strict=True))
    return Profile(times, total, peak_gflops)


def _profile_on_gpu(artifact: Artifact, machine: GpuMachine, inputs: Mapping[str, np.ndarray], runs: int) -> Profile:
    facts, arrays = artifact.manifest.kernels, [inputs[port.name] for port in artifact.inputs]
    if len(machine.steps) != len(facts):
        raise TenfoldError(f"{artifact.folder}: its manifest states {len(facts)} of {len(machine.steps)}: compile the network again")
    total = float(np.median(time_network(machine, arrays, runs).calls))
    medians = np.median(time_steps(machine, arrays, runs), axis=0)
    code = CudaCode.read(artifact.folder / artifact.manifest.library)
    arch = arch_for(code.features, machine.gpu.capability)
    times = (_time(fact, float(ms), total, None, 1) for fact, ms in zip(facts, medians, strict=True))
    return Profile(tuple(replace(each, launches=resources_of(code, each.function, arch)) for each in times), total, None)


def _time(fact: Mapping[str, Any], ms: float, total: float, peak: float | None, pieces: int) -> KernelTime:
    gflops = 2 * pieces * fact["macs"] / ms / 1e6 if fact["macs"] else None
    share = gflops / peak if gflops and peak else None
    return KernelTime(fact["function"], fact["layers"], fact["output"], ms, ms / total, gflops, share)
