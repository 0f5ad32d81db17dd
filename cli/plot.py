"""`tenfold plot`: pictures."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answer import Answer
from .app import command
from .complete import picture_names
from .options import Keywords
from .work import Work


@command
def plot(
    work: Work,
    kind: Annotated[str, typer.Argument(help="spectra, filters, learned or parameters.", metavar="KIND", autocompletion=picture_names)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write.", metavar="FILE.png|FILE.svg")],
    model: Annotated[str | None, typer.Argument(help="A network; not for parameters.", metavar="MODEL")] = None,
    colors: Annotated[int | None, typer.Option("--colors", help="Of the monochromatic form; default: about 6.", metavar="C", min=1)] = None,
    *,
    reading: Keywords,
) -> Answer:
    """Draw singular value spectra, the first layer's filters, in RGB space or as learned, or parameters over the ratio of channels."""
    work.say("reading the network" if model else "drawing")
    from ..plots.command import plot as draw

    draw(kind, model, output, colors, **reading)
    return Answer([f"wrote {output}"], {"kind": kind, "model": model, "output": str(output)})
