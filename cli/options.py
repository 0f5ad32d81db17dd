"""The options that several commands have in common."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..support.errors import TenfoldError
from .complete import device_names, target_names

MOST_THREADS = 1024

Model = Annotated[str, typer.Argument(help="A network: .onnx, or .pt2 (torch.export).", metavar="MODEL")]
TargetOption = Annotated[
    str,
    typer.Option("--target", help="A preset's name, host, NAME.toml, or a TVM target as JSON.", metavar="T", autocompletion=target_names),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", help="Fix the size of a dynamic input; may be given several times.", metavar="NAME=1,3,224,224"),
]
Batch = Annotated[int | None, typer.Option("--batch", help="The first size of inputs that leave it open; default: 1.", metavar="N", min=1)]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--outputs", help="Cut the network after this value; may be given several times.", metavar="NAME"),
]
Trust = Annotated[bool, typer.Option("--trust", help="Read files that can run code when they are read (pickles in a .pt2).")]
Threads = Annotated[int | None, typer.Option("--threads", help="Default: the physical cores.", metavar="N", min=1, max=MOST_THREADS)]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Run it there: here, cuda:N, HOST:PORT (tenfold serve), tracker:HOST:PORT/KEY (any free one), emulated[:CPU].",
        metavar="D",
        autocompletion=device_names,
    ),
]
Silence = Annotated[
    float | None,
    typer.Option(
        "--silence", help="Seconds without a sign of life after which a session ends; default: 12 of a device, 60 of a client.", metavar="S"
    ),
]
Html = Annotated[Path | None, typer.Option("--html", help="Write the result as a page for a browser too.", metavar="FILE.html")]
NoSimplify = Annotated[
    bool, typer.Option("--no-simplify", help="Take the network as it is: merge nothing beforehand (see tenfold simplify).")
]


# How a model is read: every command that has a parameter `reading` has these options, and is given them as keywords of the API.
READING = {
    "input_shape": (InputShape, None), "batch": (Batch, None), "outputs": (Outputs, None), "trust": (Trust, False),
    "no_simplify": (NoSimplify, False),
}  # fmt: skip
Keywords = dict[str, Any]


def reading_keywords(
    input_shape: list[str] | None, batch: int | None, outputs: list[str] | None, trust: bool, no_simplify: bool
) -> Keywords:
    """The options of `READING` as the API has them: the attributes of `frontends.Reading`.

    Parameters
    ----------
    input_shape, batch, outputs, trust, no_simplify
        As they were given.
    """
    return {
        "input_shapes": _shapes(input_shape), "batch": batch, "outputs": tuple(outputs) if outputs else None, "trust": trust,
        "simplify": not no_simplify,
    }  # fmt: skip


def _shapes(options: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """``["x=1,3,224,224"]`` -> ``{"x": (1, 3, 224, 224)}``."""
    shapes = {}
    for option in options or ():
        name, _, sizes = option.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shapes[name] = ()
        if not name or not shapes[name] or min(shapes[name]) < 1:
            raise TenfoldError(f"--input-shape {option}: write it as NAME=1,3,224,224, all sizes 1 or more")
    return shapes or None
