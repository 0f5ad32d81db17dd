"""`tenfold compare`: what became slower from one file of results to the next."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..support.errors import TenfoldError
from .answer import Answer
from .app import command
from .complete import figure_names
from .ending import DIFFERS
from .work import Work


@command
def compare(
    work: Work,
    old: Annotated[Path, typer.Argument(help="Results: of bench --json, compile --json, or compress (report.json).", metavar="OLD.json")],
    new: Annotated[Path, typer.Argument(help="The same, later.", metavar="NEW.json")],
    threshold: Annotated[float, typer.Option("--threshold", help="What counts as a change, at the least.", metavar="PERCENT")] = 5.0,
    max_drop: Annotated[float, typer.Option("--max-drop", help="What accuracy may fall by.", metavar="POINTS")] = 0.5,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on", help="End with 1 where one of these became worse: latency,bytes,memory,accuracy,macs.", metavar="NAME,NAME",
            autocompletion=figure_names,
        ),
    ] = "latency",
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare results of different machines, targets or threads.")
    ] = False,
) -> Answer:
    """Say what became slower between two files of results, beyond noise, and end with exit code 1 if something did."""
    work.say("reading the results")
    from ..runner.changes.compare import WORSE
    from ..runner.changes.compare import compare as compare_results
    from ..runner.changes.table import changes_lines, changes_table

    figures = _figures(fail_on)
    found = compare_results(old, new, threshold=threshold, max_drop=max_drop, across_machines=across_machines)
    worse = bool(found.having(WORSE, figures))
    content = {**found.to_dict(), "fail_on": figures, "worse": worse}
    return Answer([changes_table(found), *changes_lines(found)], content, DIFFERS if worse else 0)


def _figures(names: str) -> list[str]:
    """``"latency,memory"`` -> the names of figures."""
    from ..runner.changes.measured import FIGURES

    known = {name.removesuffix("_ms"): name for name in FIGURES}
    given = [name.strip() for name in names.split(",") if name.strip()]
    for name in given:
        if name not in known:
            raise TenfoldError(f"--fail-on {name}: no such figure: choose from {', '.join(known)}")
    return [known[name] for name in given]
