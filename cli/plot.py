"""`tenfold plot`: pictures."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import command, progress
from .options import Batch, InputShape, Outputs, Trust, reading


@command
def plot(
    kind: Annotated[str, typer.Argument(help="spectra, filters or parameters.", metavar="KIND")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write.", metavar="FILE.png|FILE.svg")],
    model: Annotated[str | None, typer.Argument(help="A network; not for parameters.", metavar="MODEL")] = None,
    colors: Annotated[int | None, typer.Option("--colors", help="Of the monochromatic form; default: about 6.", metavar="C", min=1)] = None,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Draw singular value spectra, first-layer filters in RGB space, or parameters over the ratio of channels."""
    from ..plots.command import plot as work
    from ..runner.report import console

    with progress() as say:
        say("drawing")
        work(kind, model, output, colors, **reading(input_shape, batch, outputs, trust))
    console().print(f"wrote {output}")
