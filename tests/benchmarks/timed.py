"""What measures the suites that are timed on this machine: ours and every rival, interleaved (`race`)."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import startup
from race import OURS, QUIET, Race
from rich.console import Console
from suite import Case
from tenfold.runner.bench.engines import RIVALS, rival
from tenfold.runner.bench.environment import describe_machine
from tenfold.support.errors import TenfoldError
from tenfold.targets.detection import physical_cores

OPTIONS = frozenset({"batch", "against", "threads", "runs", "seconds", "cache"})
RUNS, SECONDS = 100, 20.0  # of each engine at most; to spend on a row, about


class Timed:
    """Times layers and networks.

    Parameters
    ----------
    options : argparse.Namespace
    out : Console
        Is told of rivals that are not installed.
    """

    def __init__(self, options: argparse.Namespace, out: Console) -> None:
        rivals = installed(RIVALS if options.against is None else options.against.split(","), out)
        self.race = Race(rivals, options.threads or physical_cores(), options.runs or RUNS, options.seconds or SECONDS)
        self.machine = describe_machine(rivals)
        self.threads = self.race.threads
        self.engines = [OURS, *rivals]

    def measure(self, case: Case) -> dict[str, Any]:
        return self.race.run(case)

    def brief(self, row: dict[str, Any]) -> str:
        found = next(iter(row["models"].values()))
        times = ", ".join(f"{name} {ms:.3f}" for name, ms in found["ms"].items())
        promise = f", {row['share_of_promise']:.0%} of the promise" if "promise" in row else ""
        ratio = "" if found["ratio"] is None else f", {found['ratio']:.2f} x"
        noise = f" (others had {row['cores_of_others']:.2f} cores)" if row["cores_of_others"] > QUIET else ""
        shares = f"{found['share_of_peak']:.0%} of peak, kernels alone {found['kernels_share_of_peak']:.0%}"
        return f"{times} ms{ratio}, {shares}{promise}{noise}"


class Startup(Timed):
    """Times processes until their first answer."""

    def measure(self, case: Case) -> dict[str, Any]:
        return startup.measure(case, self.race)

    def brief(self, row: dict[str, Any]) -> str:
        seconds = [f"{name} {value['median']:.2f} s" for name, value in row.get("s", {}).items()]
        return ", ".join(seconds + [f"{name} {value} bytes" for name, value in row.get("peak_bytes", {}).items()])


def installed(names: Sequence[str], out: Console) -> list[str]:
    """The rivals that are there; the others are named with the reason."""
    found = []
    for name in filter(None, names):
        try:
            rival(name)
            found.append(name)
        except TenfoldError as error:
            if name not in RIVALS:
                raise
            out.print(f"without {name}: {error}")
    return found
