"""What a network takes on an AArch64 CPU that is not there: a model of cycles. No board is timed.

    cycles = llvm-mca's cycles of every block of machine code that ran, times its runs    (all data in the first cache)
           + lines missed in the first cache x L1_MISS_CYCLES
           + lines missed in a further cache x cycles in which the next one, or memory, brings a line

Blocks and misses are counted under emulation (`runner/devices/counted.py`), on one thread. The rates of caches and memory are those of
the target's preset. What the model leaves out: mispredicted branches, TLB misses, prefetching, and loads that overlap with each other or
with arithmetic. llvm-mca takes each block as if it repeated itself for ever.
"""
from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ...support.errors import TenfoldError
from ..devices.artifacts import read_manifest
from ..devices.choose import EMULATED
from ..devices.counted import ARCHITECTURE, Block, CacheLevel, Counted, Counts
from ..devices.device import Handle, Program
from ..devices.emulated import CPU, cpus_of, emulator_for

if TYPE_CHECKING:
    from ...targets import CpuTarget

L1_MISS_CYCLES = 9.0  # that a hit in the second cache takes beyond one in the first, of a Cortex-A72
OUTER_WAYS = 16  # of the caches behind the first one: presets do not tell theirs
ITERATIONS = 200  # of a block, as llvm-mca repeats it
LEAST_VERSION, NEWEST_VERSION = 19, 25  # of LLVM: older ones take one model of a core for most
INSTALL = f"install LLVM {LEAST_VERSION} (Debian: apt install llvm-{LEAST_VERSION})"
ISA = "-mattr=+all"  # the assembler reads whatever any core has
# LLVM models these by the Cortex-A57, which has half of their vector units: the Neoverse N1 is a Cortex-A76 with other caches.
MODELS = {"cortex-a76": "neoverse-n1", "cortex-a78": "neoverse-n1"}
POST_INDEX = re.compile(r"(ldr\s+[bhsdq]\d+,)\s*\[(\w+)\], #(-?)(\d+)$")
# What models of cores may lack: system instructions, and the atomic ones of ARMv8.1.
UNMODELLED = re.compile(r"(svc|mrs|msr|hlt|brk|udf|dc|ic|tlbi|sys|(cas|swp|ld(add|clr|eor|set|[su]m(ax|in))|ldapr)(a|l|al)?[bhp]?)\b")
UNKNOWN = "nop"  # an instruction that LLVM can't read


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
        Of NEON's multiply-adds of float32.
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
        For AArch64; its figures are those of the model.

    Raises
    ------
    TenfoldError
        The target is for another instruction set, or QEMU, its plugin or llvm-mca is missing.
    """

    is_modelled = True

    def __init__(self, target: CpuTarget) -> None:
        if target.architecture.name != ARCHITECTURE:
            raise TenfoldError(f"target {target.name}: cycles are modelled for AArch64 alone")
        self.target = target
        self.prices = prices_of(target)
        version = llvm_version()
        super().__init__(_emulated_cpu(target), self.prices.caches, target.model.line_bytes)
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
    """The device of a name ``emulated:PRESET``, for a preset of AArch64; None for every other name.

    Raises
    ------
    TenfoldError
        As of `Modelled`.
    """
    from ...targets import CpuTarget, resolve

    kind, _, cpu = name.partition(":")
    if kind != EMULATED or not cpu:
        return None
    try:
        target = resolve(cpu)
    except TenfoldError:  # a CPU of the emulator that no preset is for
        return None
    return Modelled(target) if isinstance(target, CpuTarget) and target.instruction_set == ARCHITECTURE else None


def modelled_run(network: Program | str | os.PathLike[str], cpu: CpuTarget | str) -> ModelledRun:
    """What one run of a compiled network takes on a CPU by the model.

    Parameters
    ----------
    network : Program or path
        An artifact folder, or what a device loads.
    cpu : CpuTarget or str
        A target for AArch64, or the name of its preset.

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
    blocks = joined(counts.blocks)
    words = sorted({word for block in blocks for word in block.code})
    text = dict(zip(words, disassembled(words), strict=True))
    bodies = [tuple(text[word] for word in block.code) for block in blocks]
    cycles = block_cycles(bodies, mca_cpu(target))
    costs = prices_of(target).miss_cycles
    return ModelledRun(
        instructions=counts.instructions,
        core_cycles=sum(block.runs * each for block, each in zip(blocks, cycles, strict=True)),
        misses=counts.misses,
        miss_cycles=sum(misses * cost for misses, cost in zip(counts.misses, costs, strict=True)),
        flops=sum(block.runs * flops_of(body) for block, body in zip(blocks, bodies, strict=True)),
        stack_vectors=sum(block.runs * sum(map(is_stack_vector, body)) for block, body in zip(blocks, bodies, strict=True)),
    )


def joined(blocks: Iterable[Block]) -> list[Block]:
    """Blocks that always follow each other as one: the emulator cuts blocks where a page ends, and where they get too long.

    A B, B right behind A, as often, and no branch at the end of A  ->  AB
    """
    found: list[Block] = []
    for block in sorted(blocks, key=lambda block: (block.address, len(block.code))):
        last = found[-1] if found else None
        if last and last.address + 4 * len(last.code) == block.address and last.runs == block.runs and not _is_branch(last.code[-1]):
            found[-1] = Block(last.address, last.runs, last.code + block.code)
        else:
            found.append(block)
    return found


def _is_branch(word: str) -> bool:
    """Whether an instruction is of AArch64's group of branches, exceptions and system instructions: bits 28 to 26 are 101."""
    return int(word, 16) >> 26 & 0b111 == 0b101


def disassembled(words: Sequence[str]) -> list[str]:
    """The assembly of instructions, each by itself; `UNKNOWN` for what LLVM can't read."""
    lines = "\n".join(" ".join(f"0x{word[i:i + 2]}" for i in (6, 4, 2, 0)) for word in words)
    said = _run([_tool("llvm-mc"), "--disassemble", "-triple=aarch64", ISA], lines, may_complain=True)
    found = [line.strip() for line in said.splitlines() if line.strip() and not line.strip().startswith(".")]
    if len(found) == len(words):
        return found
    if len(words) == 1:  # one that can't be read prints no line
        return [UNKNOWN]
    half = len(words) // 2
    return disassembled(words[:half]) + disassembled(words[half:])


_KNOWN: dict[tuple[str, tuple[str, ...]], float] = {}  # cycles, by core and block


def block_cycles(bodies: Sequence[tuple[str, ...]], cpu: str) -> list[float]:
    """llvm-mca's cycles of one run of each block on a core of LLVM's."""
    unknown = list(dict.fromkeys(body for body in bodies if (cpu, body) not in _KNOWN))
    if unknown:
        lines = [line for body in unknown for line in ("# LLVM-MCA-BEGIN", *chain.from_iterable(map(as_modelled, body)), "# LLVM-MCA-END")]
        command = [_tool("llvm-mca"), "-mtriple=aarch64", ISA, f"-mcpu={cpu}", f"-iterations={ITERATIONS}", "-json"]
        found = parse_cycles(_run(command, "\n".join(lines) + "\n"))
        if len(found) != len(unknown):
            raise TenfoldError(f"llvm-mca told of {len(found)} blocks, not of {len(unknown)}")
        _KNOWN.update(zip(((cpu, body) for body in unknown), found, strict=True))
    return [_KNOWN[cpu, body] for body in bodies]


def as_modelled(text: str) -> tuple[str, ...]:
    """An instruction as llvm-mca takes it.

    ldr q0, [x0], #16  ->  ldr q0, [x0]; add x0, x0, #16

    In LLVM's model of a Cortex-A57 and A72 the address of such a load is as late as what it loads, and the next one waits. The core makes
    the same two operations of it. What models lack is taken as nothing.
    """
    if found := POST_INDEX.match(text):
        load, base, sign, offset = found.groups()
        return f"{load} [{base}]", f"{'sub' if sign else 'add'} {base}, {base}, #{offset}"
    return ("nop",) if UNMODELLED.match(text) else (text,)


def parse_cycles(text: str) -> list[float]:
    """Cycles of one run of each block, of what llvm-mca printed as JSON. TenfoldError if it is none."""
    try:
        summaries = [region["SummaryView"] for region in json.loads(text)["CodeRegions"]]
        return [float(summary["TotalCycles"]) / float(summary["Iterations"]) for summary in summaries]
    except (ValueError, KeyError, TypeError) as error:
        raise TenfoldError(f"llvm-mca's answer can't be read: {error!r}") from None


def flops_of(body: Iterable[str]) -> int:
    """Multiplications and additions of float32 in instructions: NEON's ``fmla`` and its kin, and the scalar ones."""
    return sum(_flops(text) for text in body)


def _flops(text: str) -> int:
    if re.match(r"fml[as]\s", text):
        lanes = re.match(r"fml[as]\s+v\d+\.(\d)s", text)
        return 2 * int(lanes[1]) if lanes else 2
    return 2 if re.match(r"fn?m(add|sub)\s", text) else 0


def is_stack_vector(text: str) -> bool:
    """Whether an instruction loads or stores whole vectors on the stack."""
    return re.match(r"(ld|st)u?[rp]\s+q.*\[sp", text) is not None


def mca_cpu(target: CpuTarget) -> str:
    """LLVM's name of the core whose model stands for a target."""
    name = str(target.tvm["mcpu"])
    return MODELS.get(name, name)


@functools.cache
def llvm_version() -> str:
    """Of llvm-mca and llvm-mc; TenfoldError if there are none that are new enough."""
    return _version(_tool("llvm-mca"))


@functools.cache
def _tool(name: str) -> str:
    for command in (*(f"{name}-{version}" for version in range(LEAST_VERSION, NEWEST_VERSION + 1)), name):
        if shutil.which(command) and int(_version(command).partition(".")[0]) >= LEAST_VERSION:
            return command
    raise TenfoldError(f"there is no {name} of LLVM {LEAST_VERSION} or newer, which models cores: {INSTALL}")


@functools.cache
def _version(command: str) -> str:
    found = re.search(r"LLVM version (\d[\d.]*)", _run([command, "--version"]))
    return found[1] if found else "0"


def _run(command: list[str], text: str = "", may_complain: bool = False) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise TenfoldError(f"{command[0]} can't be run: {error.strerror}") from None
    if done.returncode and not (may_complain and done.stdout):
        raise TenfoldError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['it says nothing'])[0][:300]}")
    return done.stdout


def _emulated_cpu(target: CpuTarget) -> str:
    """The emulator's CPU of the name of a target, or the one that has all."""
    emulator = emulator_for(ARCHITECTURE)
    name = str(target.tvm["mcpu"])
    return name if emulator is not None and name in cpus_of(emulator) else CPU
