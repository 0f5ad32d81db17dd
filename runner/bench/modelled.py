"""What a network takes on a CPU that is not there, or not timed: a model of cycles.

    cycles = llvm-mca's cycles of every block of machine code that ran, times its runs    (all data in the first cache)
           + lines missed in the first cache x L1_MISS_CYCLES
           + lines missed in a further cache x cycles in which the next one, or memory, brings a line

Blocks and misses are counted under emulation (`runner/devices/counted.py`), on one thread. The rates of caches and memory are those of
the target's preset. What the model leaves out: mispredicted branches, TLB misses, prefetching, and loads that overlap with each other or
with arithmetic. llvm-mca takes each block as if it repeated itself for ever.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...support.errors import TenfoldError
from ...targets.architectures import AARCH64
from ..devices.artifacts import read_manifest
from ..devices.choose import EMULATED
from ..devices.counted import CacheLevel, Counted, Counts
from ..devices.device import Handle, Program
from ..devices.emulated import CPU, cpus_of, emulator_for
from .instructions import BY_ARCHITECTURE
from .mca import as_text, block_cycles, llvm_version

if TYPE_CHECKING:
    from ...targets import CpuTarget

L1_MISS_CYCLES = 9.0  # that a hit in the second cache takes beyond one in the first, of a Cortex-A72
OUTER_WAYS = 16  # of the caches behind the first one: presets do not tell theirs
# LLVM models these by the Cortex-A57, which has half of their vector units: the Neoverse N1 is a Cortex-A76 with other caches.
MODELS = {"cortex-a76": "neoverse-n1", "cortex-a78": "neoverse-n1"}
SVE_QUADS = {"neoverse-v1": 2, "neoverse-v2": 1}  # vectors of SVE, in 128 bits; no other preset has them


@dataclass(frozen=True)
class Prices:
    """What a missed line costs, by the level that missed it, in cycles; and the caches."""

    caches: tuple[CacheLevel, ...]
    miss_cycles: tuple[float, ...]

    def __str__(self) -> str:
        levels = zip(self.caches, self.miss_cycles, strict=True)
        said = (f"L{number} {cache.kib} KiB, {cache.ways} ways, a miss {cost:.3g} cycles" for number, (cache, cost) in enumerate(levels, 1))
        return "; ".join(said)


@dataclass(frozen=True)
class ModelledRun:
    """What one run of a network takes by the model, on one thread.

    Attributes
    ----------
    instructions : int
    core_cycles : float
        llvm-mca's, as if all data were in the first cache.
    misses : tuple of int
        Lines, by the level of the cache.
    miss_cycles : float
        What they cost.
    flops : int
        Of multiply-adds of float32.
    stack_vectors : int
        Loads and stores of vectors on the stack.
    """

    instructions: int
    core_cycles: float
    misses: tuple[int, ...]
    miss_cycles: float
    flops: int
    stack_vectors: int

    @property
    def cycles(self) -> float:
        """All of them."""
        return self.core_cycles + self.miss_cycles


class Modelled(Counted):
    """A CPU that is emulated, and timed by the model: its milliseconds are modelled cycles at the clock of the preset.

    Parameters
    ----------
    target : CpuTarget
        Its figures are those of the model.

    Raises
    ------
    TenfoldError
        QEMU, its plugin or llvm-mca is missing.
    """

    is_modelled = True

    def __init__(self, target: CpuTarget) -> None:
        self.target = target
        self.prices = prices_of(target)
        version = llvm_version()
        super().__init__(_emulated_cpu(target), target.architecture.name, self.prices.caches, target.model.line_bytes)
        self.name = f"{EMULATED}:{target.name}"
        self.model = f"cycles by llvm-mca {version} -mcpu={mca_cpu(target)}; {self.prices}"
        self._runs: dict[Handle, ModelledRun] = {}

    def describe(self) -> str:
        return f"modelled {self.target.name} ({super().describe()})"

    def modelled(self, handle: Handle) -> ModelledRun:
        """What one run of a loaded network takes."""
        if handle not in self._runs:
            self._runs[handle] = model(self.count(handle), self.target)
        return self._runs[handle]

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        """Modelled milliseconds of one run: every one takes the same."""
        return [self.modelled(handle).cycles / self.target.model.clock_ghz / 1e6] * (runs or 1)

    def drop(self, handle: Handle) -> None:
        self._runs.pop(handle, None)
        super().drop(handle)


def modelled_device(name: str) -> Modelled | None:
    """The device of a name ``emulated:PRESET``; None for every other name.

    Raises
    ------
    TenfoldError
        As of `Modelled`; or it is the preset of a GPU.
    """
    from ...targets import CpuTarget, GpuTarget, resolve
    from ...targets.gpu_target import CUDA

    kind, _, cpu = name.partition(":")
    if kind != EMULATED or cpu in ("", "host"):
        return None
    try:
        target = resolve(cpu)
    except TenfoldError:  # a CPU of the emulator that no preset is for
        return None
    if isinstance(target, GpuTarget):
        what = "nothing models what a network takes on a GPU, and times under emulation say nothing of one"
        raise TenfoldError(f"device {name}: {what}: give here, {CUDA}:N or HOST:PORT, with a GPU")
    return Modelled(target) if isinstance(target, CpuTarget) else None


def modelled_run(network: Program | str | os.PathLike[str], cpu: CpuTarget | str) -> ModelledRun:
    """What one run of a compiled network takes on a CPU by the model.

    Parameters
    ----------
    network : Program or path
        An artifact folder, or what a device loads.
    cpu : CpuTarget or str
        A target, or the name of its preset.

    Raises
    ------
    TenfoldError
        It can't be counted: another instruction set, no such preset, no artifact, or a tool is missing.
    """
    from ...targets import resolve_cpu

    with Modelled(resolve_cpu(cpu)) as device:
        if isinstance(network, Program):
            return device.modelled(device.load(network))
        folder = Path(network)
        manifest = read_manifest(folder)
        lack = device.check(manifest.target)
        if lack is not None:
            raise TenfoldError(f"{folder}: device {device.name} can't run it: {lack}")
        return device.modelled(device.load(Program.of_artifact(folder, manifest, 1)))


def modelled_cycles(network: Program | str | os.PathLike[str], cpu: CpuTarget | str) -> float:
    """Cycles of one run of a compiled network on a CPU by the model, on one thread (`modelled_run`)."""
    return modelled_run(network, cpu).cycles


def prices_of(target: CpuTarget) -> Prices:
    """The caches of a target, and what a miss of each costs by the rates of its preset."""
    figures, line = target.model, target.model.line_bytes
    caches = [CacheLevel(target.l1_bytes >> 10, max(1, target.l1_bytes // figures.way_bytes))]
    costs = [L1_MISS_CYCLES]
    behind = [(target.l2_bytes, figures.l3_bytes_per_cycle if target.l3_bytes else figures.memory_bytes_per_cycle),
              (target.l3_bytes, figures.memory_bytes_per_cycle)]
    for size, rate in behind:
        if size:
            caches.append(CacheLevel(size >> 10, OUTER_WAYS))
            costs.append(line / rate)
    return Prices(tuple(caches), tuple(costs))


def model(counts: Counts, target: CpuTarget) -> ModelledRun:
    """Cycles of what was counted.

    Parameters
    ----------
    counts : Counts
    target : CpuTarget
        Its core and its prices.

    Raises
    ------
    TenfoldError
        llvm-mca is missing, or fails.
    """
    isa = BY_ARCHITECTURE[target.architecture.name]
    blocks = as_text(counts.blocks, isa)
    cycles = block_cycles([body for _, body in blocks], mca_cpu(target), isa)
    costs = prices_of(target).miss_cycles
    return ModelledRun(
        instructions=counts.instructions,
        core_cycles=sum(block.runs * each for (block, _), each in zip(blocks, cycles, strict=True)),
        misses=counts.misses,
        miss_cycles=sum(misses * cost for misses, cost in zip(counts.misses, costs, strict=True)),
        flops=sum(block.runs * sum(map(isa.flops, body)) for block, body in blocks),
        stack_vectors=sum(block.runs * sum(map(isa.is_stack_vector, body)) for block, body in blocks),
    )


def mca_cpu(target: CpuTarget) -> str:
    """LLVM's name of the core whose model stands for a target."""
    name = str(target.tvm["mcpu"])
    return MODELS.get(name, name)


def _emulated_cpu(target: CpuTarget) -> str:
    """The emulator's CPU of the name of a target; or the one that has all, without what the target lacks: engines ask what there is."""
    architecture, name = target.architecture.name, str(target.tvm["mcpu"])
    emulator = emulator_for(architecture)
    if emulator is not None and name in cpus_of(emulator):
        return name
    if architecture != AARCH64.name:
        return CPU
    quads = SVE_QUADS.get(name)
    return f"{CPU},sme=off,{f'sve-max-vq={quads}' if quads else 'sve=off'}"
