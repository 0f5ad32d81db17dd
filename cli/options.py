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
    typer.Option(
        "--input-shape", help="Fix the size of a dynamic input. Given again for the same input: another size (compile).",
        metavar="NAME=1,3,224,224",
    ),
]


def _batches(text: str) -> int | tuple[int, ...]:
    """``4``, or ``1,4,16``."""
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(f"{text!r} is no batch: write 4, or for several sizes 1,4,16, all 1 or more")
    return sizes if len(sizes) > 1 else sizes[0]


Batch = Annotated[
    Any,
    typer.Option(
        "--batch", help="The first size of inputs that leave it open; default: 1. Several, such as 1,4,16: an artifact for all (compile).",
        metavar="N", parser=_batches,
    ),
]
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
    input_shape: list[str] | None, batch: int | tuple[int, ...] | None, outputs: list[str] | None, trust: bool, no_simplify: bool
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


def _shapes(options: list[str] | None) -> dict[str, tuple[int, ...]] | list[dict[str, tuple[int, ...]]] | None:
    """``["x=1,3,224,224"]`` -> ``{"x": (1, 3, 224, 224)}``; where inputs are given several times, such a dict for each time."""
    given: dict[str, list[tuple[int, ...]]] = {}
    for option in options or ():
        name, _, sizes = option.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise TenfoldError(f"--input-shape {option}: write it as NAME=1,3,224,224, all sizes 1 or more")
        given.setdefault(name, []).append(shape)
    times = max(map(len, given.values()), default=0)
    for name, shapes in given.items():
        if len(shapes) not in (1, times):
            raise TenfoldError(f"--input-shape {name}: given {len(shapes)} times, another input {times} times: give it once, or as often")
    each_time = [{name: shapes[number % len(shapes)] for name, shapes in given.items()} for number in range(times)]
    return each_time if times > 1 else each_time[0] if each_time else None
