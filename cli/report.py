"""`tenfold report`: one HTML file from results."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answer import Answer
from .app import command
from .work import Work


@command
def report(
    work: Work,
    what: Annotated[list[str], typer.Argument(help="Folders of compress and compile, files of bench --json.", metavar="WHAT...")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write.", metavar="FILE.html")],
) -> Answer:
    """Show results side by side in one HTML file: figures, layers, where the time goes, and by what they were made."""
    work.say("reading the results")
    from ..reports.write import report as write
    from ..runner.report import size

    written = write(what, output)
    return Answer([f"wrote {output} ({size(written)})"], {"what": what, "output": str(output), "bytes": written})
