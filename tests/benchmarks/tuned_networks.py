"""What tuning gains: networks, dense and factored, tuned from nothing; then with the records and without, in turns.

A row is a network. Its trials go to a log of its own, so that each row begins with nothing; with `--logs` what it found is kept.
"""
from __future__ import annotations

import argparse
import tempfile
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from networks import WRITERS, network
from rich.console import Console
from suite import Case, Settings, Suite, Table
from tenfold.runner.bench.disturbance import Watch
from tenfold.runner.bench.environment import describe_machine
from tenfold.targets import resolve

if TYPE_CHECKING:
    from tenfold import Plan

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
BUNDLED = {"jin": "cifar10_jin_baseline", "vgg": "cifar10_vgg"}
ENERGY = 0.8  # of the weights, that factored networks keep
SECONDS = 300.0  # for the trials of a network, at most


def cases(settings: Settings) -> list[Case]:
    """The bundled networks, then those of the lists; dense, then factored by energy."""
    writers = {name: lambda folder, file=file: EXAMPLES / f"{file}.onnx" for name, file in BUNDLED.items()}
    writers |= {name: lambda folder, name=name: network(name, settings.cache) for name in WRITERS}
    return [Case(name if form == "dense" else f"{name}, factored", {"network": write}, (form,), {"form": form})
            for form in ("dense", "factored") for name, write in writers.items()]


class Tuned:
    """Tunes a network.

    Parameters
    ----------
    options : argparse.Namespace
    out : Console
    """

    def __init__(self, options: argparse.Namespace, out: Console) -> None:
        self.threads = options.threads or resolve("host").cores
        self.seconds = options.seconds or SECONDS
        self.logs, self.search = options.logs, options.search or "tenfold"
        self.engines = [self.search]
        self.machine = describe_machine(())

    def measure(self, case: Case) -> dict[str, Any]:
        """Tune, with a log of its own."""
        import tenfold
        from tenfold.tuning.merge import merge

        ((_, write),) = case.models.items()
        with tempfile.TemporaryDirectory(prefix="tenfold-bench-") as folder:
            watch = Watch()
            settings = tenfold.TuningSettings(minutes=self.seconds / 60, search=self.search)
            model = write(Path(folder))
            plan = by_energy(model) if case.facts["form"] == "factored" else None
            found = tenfold.tune(model, log=Path(folder) / "log", plan=plan, threads=self.threads, settings=settings).to_json()
            others = watch.load().others or 0.0
            if self.logs is not None and any(kernel["kept"] for kernel in found["kernels"]):
                merge([Path(folder) / "log"] + [self.logs] * self.logs.exists(), self.logs)
        facts = {"search": self.search, "seconds_allowed": self.seconds}
        kept = ("workload", "count", "trials", "model_ms", "best_ms", "limit_ms", "kept", "ended", "curve")
        return {
            "name": case.name, "lists": list(case.lists), **case.facts, **facts, "cores_of_others": others,
            "trials": found["trials"], "seconds": found["seconds"],
            "ms": {"model": found["network"]["before_ms"], "tuned": found["network"]["after_ms"]},
            "kernels": [{name: kernel[name] for name in kept} for kernel in found["kernels"]],
        }

    def brief(self, row: dict[str, Any]) -> str:
        """A row in a few words."""
        return f"{_ratio(row):.3f} times as fast, {row['trials']} trials, {row['trials'] / row['seconds']:.1f} a second"


def by_energy(model: Path) -> Plan:
    """The plan that keeps `ENERGY` of each weight."""
    from tenfold.factorization.plan import Plan
    from tenfold.frontends import load
    from tenfold.passes.inventory import inventory, weights

    read = load(model)
    return Plan.by_energy(inventory(read.mod), weights(read.mod), read.sha256, "host", "auto", ENERGY, resolve("host").rank_multiple)


def table(results: dict[str, Any]) -> Table:
    """One row for each network."""
    rows = [[row["name"], f"{row['ms']['model']:.4g}", f"{row['ms']['tuned']:.4g}", f"{_ratio(row):.3f}", str(row["trials"]),
             f"{row['seconds']:.0f}", f"{row['trials'] / row['seconds']:.1f}", _trials_to(row, 0.98), f"{row['cores_of_others']:.2f}"]
            for row in results["rows"] if "error" not in row]
    headings = ["network", "model's choices, ms", "tuned, ms", "times as fast", "trials", "s", "trials a second", "trials to 98 %"]
    return [*headings, "CPUs of others"], rows


def caption(results: dict[str, Any]) -> str:
    """The mean of all rows."""
    ratios = [_ratio(row) for row in results["rows"] if "error" not in row]
    return f"geometric mean {exp(mean(map(log, ratios))):.3f} times as fast" if ratios else "nothing was measured"


def _ratio(row: dict[str, Any]) -> float:
    return row["ms"]["model"] / row["ms"]["tuned"]


def _trials_to(row: dict[str, Any], share: float) -> str:
    """Of each kernel until it had that share of the speed that it had in the end: the median."""
    counts = [next(trials for trials, ms in kernel["curve"] if ms is not None and share * ms <= kernel["best_ms"])
              for kernel in row["kernels"] if kernel["best_ms"]]
    return str(sorted(counts)[len(counts) // 2]) if counts else ""


SUITE = Suite(cases, Tuned, table, caption, frozenset({"threads", "seconds", "cache", "logs", "search"}))
