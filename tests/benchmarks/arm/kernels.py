"""Inner loops of our kernels for AArch64 CPUs, without a board: cycles by llvm-mca, share of the core's peak, loads, stack accesses.

A row is a layer of `tests/benchmarks/shapes/`, or a depthwise one of MobileNet-v2, lowered and compiled as a network's. All innermost loops
that multiply and add are looked at. llvm-mca takes all data as in the first cache; nothing is run.
"""
from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import tvm
from rich.console import Console
from shapes import Shape, read_all
from suite import Case, Settings, Suite
from tenfold.codegen.stack_buffers import PIPELINE
from tenfold.codegen.unaligned_parameters import UnalignedParameters
from tenfold.factorization import METHODS
from tenfold.passes.layer_module import layer_module
from tenfold.passes.pipeline import lower
from tenfold.runner.bench.instructions import AARCH64
from tenfold.runner.bench.mca import block_cycles, llvm_version
from tenfold.runner.bench.modelled import mca_cpu
from tenfold.schedules.backend import Backend, backend_of
from tenfold.targets import CpuTarget, resolve_cpu

from .tables import facts, kernels_table

CPUS = ("cortex-a72", "neoverse-n1", "neoverse-v1")
LOWERED = "math"  # the phase behind which kernels are scheduled
LEAST_FMLA = 4  # of a loop that counts
DEPTHWISE = tuple(  # channels, size, kernel, stride
    Shape(channels, channels, size, kernel, stride, kernel // 2, channels)
    for channels, size, kernel, stride in (
        (32, 112, 3, 1), (96, 112, 3, 2), (144, 56, 3, 1), (144, 56, 3, 2), (192, 28, 3, 1), (192, 28, 3, 2), (384, 14, 3, 1),
        (576, 14, 3, 1), (576, 14, 3, 2), (960, 7, 3, 1), (240, 14, 5, 1)))
LABEL = re.compile(r"^(\.?[\w$.]+):")
JUMP = re.compile(r"^\s*(?:b|b\.\w+|cbn?z|tbn?z)\s.*?(\.L\w+)\s*$")


@dataclass(frozen=True)
class Loop:
    """An innermost loop.

    Attributes
    ----------
    kernel : str
    depth : int
        Loops around it, in the function that it is in.
    instructions, fmla, accumulators, loads, stack : int
        Vector multiply-adds; registers that they add to; loads of all kinds; loads and stores of vectors on the stack.
    cycles : float
        llvm-mca's, of one turn.
    share_of_peak : float
        Its multiply-adds and cycles against the core's.
    """

    kernel: str
    depth: int
    instructions: int
    fmla: int
    accumulators: int
    loads: int
    stack: int
    cycles: float
    share_of_peak: float


def innermost(assembly: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The depth and the instructions of each innermost loop: what lies between a label and a jump back, and holds no such pair itself."""
    lines = [line.split("//")[0].rstrip() for line in assembly.splitlines()]
    labels = {found[1]: number for number, line in enumerate(lines) if (found := LABEL.match(line))}
    spans = [(labels[found[1]], number) for number, line in enumerate(lines)
             if (found := JUMP.match(line)) and labels.get(found[1], number) < number]
    for begin, end in spans:
        if not any((first, last) != (begin, end) and begin <= first and last <= end for first, last in spans):
            depth = sum((first, last) != (begin, end) and first <= begin and end <= last for first, last in spans)
            yield depth, tuple(line.strip() for line in lines[begin : end + 1] if re.match(r"\s+[a-z]", line))


def loops_of(assembly: str, kernel: str, target: CpuTarget) -> list[Loop]:
    """The innermost loops of a kernel that multiply and add (`in_order`)."""
    deep = [(depth, body) for depth, body in innermost(assembly) if sum(map(is_fmla, body)) >= LEAST_FMLA]
    bodies = [body for _, body in deep]
    peak = 2 * target.lanes * target.model.fma_per_cycle
    found = []
    for (depth, body), cycles in zip(deep, block_cycles(bodies, mca_cpu(target), AARCH64), strict=True):
        share = sum(map(AARCH64.flops, body)) / cycles / peak
        fmla, loads, stack = (sum(map(test, body)) for test in (is_fmla, is_load, AARCH64.is_stack_vector))
        accumulators = len({text.split(",")[0] for text in body if is_fmla(text)})
        found.append(Loop(kernel, depth, len(body), fmla, accumulators, loads, stack, round(cycles, 2), round(share, 4)))
    return in_order(found)


def in_order(loops: Sequence[Loop]) -> list[Loop]:
    """The deepest loops first, which run most often, and of these the one with the largest register tile: the main loop."""
    return sorted(loops, key=lambda loop: (-loop.depth, -loop.accumulators, -loop.fmla))


def is_fmla(text: str) -> bool:
    """Whether an instruction multiplies and adds whole vectors."""
    return re.match(r"fml[as]\s+v\d+\.4s", text) is not None


def is_load(text: str) -> bool:
    """Whether an instruction loads."""
    return re.match(r"ld\w+\s", text) is not None


def assembly_of(shape: Shape, backend: Backend) -> Iterator[tuple[str, str]]:
    """Each kernel of a layer: its name and assembly."""
    layer = shape.layer
    chain = METHODS[shape.form].outline(layer, shape.ranks) if shape.form else None
    mod = lower(layer_module(layer, chain, ("relax.nn.relu",)), backend, until=LOWERED)
    for var, function in mod.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc):
            alone = tvm.IRModule({var: function.with_attr("global_symbol", var.name_hint)})
            loops = UnalignedParameters()(backend.lower_loops(alone))
            library = tvm.tirx.build(loops, target=backend.target.tvm_target(), pipeline=PIPELINE)
            yield var.name_hint, machine_code(library)


def machine_code(library: tvm.runtime.Module) -> str:
    """The assembly of what was built: of the part of it that LLVM made."""
    parts = [library, *library.imports]
    return next(part for part in parts if part.kind == "llvm").inspect_source("asm")


def shapes_by_name() -> dict[str, tuple[Shape, list[str]]]:
    """The layers, and the lists that they are in."""
    found = {**read_all(), **{shape: ["mobilenet-v2"] for shape in DEPTHWISE}}
    return {shape.name: (shape, lists) for shape, lists in found.items()}


def cases(settings: Settings) -> list[Case]:
    """Every layer."""
    return [Case(name, lists=tuple(lists)) for name, (_, lists) in shapes_by_name().items()]


class Kernels:
    """Judges the inner loops of layers."""

    engines = ["tenfold"]
    threads = 1

    def __init__(self, options: argparse.Namespace, out: Console) -> None:
        self.cpus = list(options.cpu or CPUS)
        versions = {"tenfold": metadata.version("tenfold"), "tvm": metadata.version("apache-tvm"), "llvm-mca": llvm_version()}
        self.machine = {"cpu": "no board: llvm-mca", "versions": versions, "models": self.cpus}
        self._shapes = shapes_by_name()

    def measure(self, case: Case) -> dict[str, Any]:
        """The inner loops of a layer on every CPU."""
        shape, lists = self._shapes[case.name]
        found = {}
        for cpu in self.cpus:
            target = resolve_cpu(cpu)
            loops = [loop for kernel, text in assembly_of(shape, backend_of(target)) for loop in loops_of(text, kernel, target)]
            found[cpu] = [asdict(loop) for loop in in_order(loops)]
        kind = "depthwise" if shape.groups == shape.channels > 1 else shape.form or "dense"
        return {"name": shape.name, "lists": list(lists), "kind": kind, "cpus": found}

    def brief(self, row: dict[str, Any]) -> str:
        shares = {cpu: ", ".join(f"{loop['share_of_peak']:.0%}" for loop in loops) or "no loop" for cpu, loops in row["cpus"].items()}
        return "; ".join(f"{cpu} {share}" for cpu, share in shares.items())


SUITE = Suite(cases, Kernels, kernels_table, facts, frozenset({"cpu"}))
