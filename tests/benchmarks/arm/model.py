"""Whether the model of cycles orders a search's candidates as a machine does: the same machine code, modelled and timed.

No AArch64 board is at hand, so this is asked of x86-64: code for an AVX2 preset (QEMU has no AVX-512) is counted under emulation and priced
by the preset's figures, as it is for AArch64, and timed on this machine, which is another CPU than the preset's unless it happens to be
the same. A row is a convolution of a bundled network, dense and with every method and rank that a search may look at. All candidates of a
row are timed interleaved, on one thread; the fastest round of each counts.
"""
from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from suite import Case, Settings, Suite
from tenfold.factorization import Layer
from tenfold.runner.bench.disturbance import Watch
from tenfold.runner.bench.environment import describe_machine
from tenfold.runner.bench.modelled import Modelled, ModelledRun
from tenfold.runner.devices.device import KERNELS, Handle
from tenfold.runner.devices.here import Here
from tenfold.support.errors import TenfoldError
from tenfold.targets import CpuTarget, resolve_cpu

from .networks import BUNDLED, EXAMPLES
from .rank_tables import agreement, ranks_caption, ranks_table

if TYPE_CHECKING:
    from tenfold.search.candidates import Candidate

CPU = "zen3"
ROUNDS, SECONDS = 30, 90.0  # of a row's candidates, at most


def candidates(title: str) -> Iterator[tuple[str, Layer, tuple[str, ...], list[Candidate]]]:
    """Of a bundled network: each convolution's name as a row, the layer, what follows it, and all that a search may time in its place.

    Layers of one shape are one.
    """
    from tenfold.frontends import load
    from tenfold.passes.epilogues import epilogues
    from tenfold.passes.inventory import inventory
    from tenfold.search.candidates import fields

    network = load(EXAMPLES / f"{BUNDLED[title]}.onnx")
    steps, seen = epilogues(network.mod), set()
    for field in fields(inventory(network.mod), resolve_cpu(CPU).lanes):
        layer = field.layer
        filters, channels, height, width = layer.weight_shape if layer.kind == "conv2d" else (0, 0, 0, 0)
        name = f"{title}, {channels}-{filters} {layer.input_size[0]} {height}x{width}"
        if layer.kind == "conv2d" and field.ladders and name not in seen:
            seen.add(name)
            yield name, layer, steps.get(layer.name, ()), [each for ladder in field.ladders.values() for each in ladder]


def cases(settings: Settings) -> list[Case]:
    """Every convolution of the bundled networks that can be factored."""
    return [Case(name, lists=(title,)) for title in BUNDLED for name, *_ in candidates(title)]


class Ranks:
    """Models and times the candidates of a layer.

    Parameters
    ----------
    options : argparse.Namespace
    out : Console
    """

    engines = ["tenfold"]
    threads = 1

    def __init__(self, options: argparse.Namespace, out: Console) -> None:
        from tenfold.runner.build import describe_target, with_threads

        if len(options.cpu) > 1:
            raise TenfoldError("--cpu: arm-model takes one preset")
        self.target: CpuTarget = with_threads(resolve_cpu(options.cpu[0] if options.cpu else CPU), 1)
        self.rounds, self.seconds = options.runs or ROUNDS, options.seconds or SECONDS
        if (lack := Here().check(describe_target(self.target))) is not None:
            raise TenfoldError(f"--cpu {self.target.name}: its code can't be timed here: {lack}")
        with Modelled(self.target) as device:
            if (lack := device.check(describe_target(self.target))) is not None:
                raise TenfoldError(f"--cpu {self.target.name}: its code can't be counted: {lack}")
            self.machine = describe_machine(()) | {"code_for": self.target.name, "model": device.model}

    def measure(self, case: Case) -> dict[str, Any]:
        """Compile each candidate once, model that code, and time it."""
        (title,) = case.lists
        layer, steps, tried = next(found[1:] for found in candidates(title) if found[0] == case.name)
        rows: list[dict[str, Any]] = []
        with Modelled(self.target) as emulated, Here() as here:
            handles = []
            for candidate in (None, *tried):
                handle, run = self._count(layer, candidate, steps, emulated, here)
                handles.append(handle)
                choice = None if candidate is None else candidate.choice
                rows.append({"method": "dense" if choice is None else choice.method, "ranks": [] if choice is None else list(choice.ranks),
                             "macs": layer.macs if candidate is None else candidate.macs, **asdict(run), "cycles": run.cycles})
            watch = Watch()
            rounds = self._rounds(here, handles)
            others = watch.load().others or 0.0
        for row, ms in zip(rows, rounds.min(axis=0), strict=True):
            row["ms"] = float(ms)
        return {"name": case.name, "lists": list(case.lists), "cores_of_others": others, "rounds": len(rounds), "candidates": rows}

    def _count(self, layer: Layer, candidate: Candidate | None, steps: Sequence[str], emulated: Modelled,
               here: Here) -> tuple[Handle, ModelledRun]:
        """The code of a candidate, loaded here to be timed, and what it takes by the model."""
        from tenfold.passes.layer_module import layer_module
        from tenfold.runner.build import build_library, program_of
        from tenfold.support.files.temporary import TemporaryFolder

        mod = layer_module(layer, None if candidate is None else candidate.outline(), tuple(steps))
        with TemporaryFolder() as folder:
            program = program_of(mod, build_library(mod, self.target, folder), folder, 1)
            counted = emulated.load(program, KERNELS)
            run = emulated.modelled(counted)
            emulated.drop(counted)
            return here.load(program, KERNELS), run

    def _rounds(self, here: Here, handles: Sequence[Handle]) -> np.ndarray:
        """Milliseconds of each candidate in each round: the median of a burst, as a search takes it."""
        rounds: list[list[float]] = []
        end = time.perf_counter() + self.seconds
        gc.disable()
        try:
            while len(rounds) < self.rounds and (time.perf_counter() < end or len(rounds) < 2):
                rounds.append([float(np.median(here.time(handle))) for handle in handles])
        finally:
            gc.enable()
        return np.array(rounds)

    def brief(self, row: dict[str, Any]) -> str:
        found = agreement([row["candidates"]], self.target.model)
        said = ", ".join(f"{name} {value:.3f}" for name, value in found.spearman.items())
        return f"{found.number} candidates, Spearman: {said}"


SUITE = Suite(cases, Ranks, ranks_table, ranks_caption, frozenset({"cpu", "runs", "seconds"}))
