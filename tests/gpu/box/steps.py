"""The steps of the box. Each goes through cases, and adds a row for each that has none yet."""
from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import tools
from .case import CASES, Case
from .journal import UNFINISHED, Journal
from .measure import milliseconds
from .network import Network, open_network
from .reference import TOLERANCES, Reference, inputs_of

Row = dict[str, Any]
AGAIN = 3  # exit code: another process has to go on


class Differs(Exception):
    """A result is another one than the reference's."""


@dataclass
class Box:
    """Where everything is, and how it is run."""

    root: Path
    cases: Sequence[Case]
    journal: Journal
    emulated: bool

    def rows(self, step: str, cases: Sequence[Case], make: Callable[[Case], Row]) -> None:
        """Add a row for each case. One that fails says so in its row, and ends the process: the next one goes on."""
        for case in cases:
            if self.journal.has(step, case.name):
                continue
            self.journal.add(step, case.name, error=UNFINISHED)  # stands where the process dies in it
            try:
                row = make(case)
            except Exception as error:
                self.journal.add(step, case.name, error=f"{type(error).__name__}: {error}"[:400])
                if not isinstance(error, Differs):
                    raise SystemExit(AGAIN) from None  # the context may be lost with a kernel that failed
                continue
            self.journal.add(step, case.name, **row)
            print(f"  {case.name}: {told(row)}", flush=True)


def told(row: Row) -> str:
    """A row in a few words."""
    words = [f"{name} {each['median']:.4f} ms" for name, each in row.get("ms", {}).items()]
    if "error_over_largest" in row:
        words.append(f"largest error {row['error_over_largest']:.1e}")
    return ", ".join(words)


def check(box: Box, case: Case) -> tuple[Network, Row]:
    """Run a case once and compare.

    Raises
    ------
    Differs
    """
    network = open_network(box.root, case, box.emulated)
    results = network.run(inputs_of(case))
    found, allowed = Reference.read(box.root / CASES / case.folder).error(results[0]), TOLERANCES[case.precision]
    if not found <= allowed:
        raise Differs(f"by {found:.2e} of the largest number, {allowed:.1e} is allowed")
    return network, {"error_over_largest": found}


def load(box: Box) -> None:
    """What the machine is, and one kernel."""
    box.journal.set(**machine(box.emulated), cases=len(box.cases))
    box.rows("load", box.cases[:1], lambda case: check(box, case)[1])


def machine(emulated: bool) -> Row:
    """What the machine is."""
    found: Row = {"python": platform.python_version(), "numpy": np.__version__, "emulated": emulated}
    if not emulated:
        from tenfold.targets.cuda_driver import driver

        gpu = driver().gpus()[0]
        found.update(gpu=gpu.name, arch=gpu.arch, sms=gpu.sms, driver_cuda=driver().version, smi=tools.smi())
    return found | {"torch": tools.torch_version()}


def kernels(box: Box) -> None:
    """Every case against its reference."""
    box.rows("kernels", box.cases, lambda case: check(box, case)[1])


def timed(step: str) -> Callable[[Box], None]:
    """The cases of a step, timed against the rival."""

    def run(box: Box) -> None:
        box.rows(step, [case for case in box.cases if case.step == step], lambda case: race(box, case))

    return run


def race(box: Box, case: Case) -> Row:
    """Check a case, and time it and the rival in turn."""
    network, row = check(box, case)
    ways, missing = network.ways(), tools.lacks_torch() if not box.emulated else "the emulator has no times"
    if not missing:
        from .torch_graph import TorchNetwork

        rival = TorchNetwork(case)  # kept: its graph needs its memory
        ways |= rival.ways()
    row |= {"batch": case.batch, "lists": case.lists, "macs": sum(case.macs.values()), "precision": case.precision}
    if missing:
        row["rival"] = f"none: {missing}"
    return row | ({"ms": milliseconds(ways)} if ways else {})


def sanitizer(box: Box) -> None:
    """compute-sanitizer's memcheck and racecheck on a sample of cases."""
    tools.need("compute-sanitizer")
    for tool in ("memcheck", "racecheck"):
        for case in sample(box.cases):
            name = f"{tool} {case.name}"
            if not box.journal.has("sanitizer", name):
                box.journal.add("sanitizer", name, **tools.sanitize(tool, case.name))


def sample(cases: Sequence[Case], each: int = 2) -> Iterator[Case]:
    """The smallest cases of each step."""
    for step in dict.fromkeys(case.step for case in cases):
        yield from sorted((case for case in cases if case.step == step), key=lambda case: sum(case.macs.values()) * case.batch)[:each]


def profile(box: Box) -> None:
    """ncu on the three cases that are slowest against the rival."""
    tools.need("ncu")
    for row in slowest(box.journal.rows()):
        if not box.journal.has("ncu", row["name"]):
            box.journal.add("ncu", row["name"], **tools.profile(row["name"]))


def slowest(rows: Sequence[Row], count: int = 3) -> list[Row]:
    """The rows with the least of the rival's time over ours, kernels alone."""
    raced = [row for row in rows if ratio(row) is not None]
    return sorted(raced, key=lambda row: ratio(row) or 0.0)[:count]


def ratio(row: Row) -> float | None:
    """The rival's time over ours: of layers the kernels alone, of networks the whole; None where one is not known."""
    ms = row.get("ms", {})
    own = ms.get("graph" if row["step"] == "networks" else "kernels")
    return ms["torch graph"]["median"] / own["median"] if own and "torch graph" in ms else None


STEPS: dict[str, tuple[Callable[[Box], None], float]] = {  # and the seconds that each may take
    "load": (load, 60), "kernels": (kernels, 300), "sanitizer": (sanitizer, 150), "layers": (timed("layers"), 300),
    "chains": (timed("chains"), 180), "flattened": (timed("flattened"), 90), "denton": (timed("denton"), 120),
    "tf32": (timed("tf32"), 100), "fp16": (timed("fp16"), 100), "networks": (timed("networks"), 200), "ncu": (profile, 110),
}
