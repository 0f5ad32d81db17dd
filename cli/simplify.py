"""`tenfold simplify`: the same network with fewer nodes and multiply-adds, as ONNX."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .answer import Answer
from .app import command
from .complete import rewrite_names
from .options import Keywords, Model
from .work import Work

if TYPE_CHECKING:
    from ..runner.simplify import Simplification


@command
def simplify(
    work: Work,
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.", metavar="FILE.onnx")],
    only: Annotated[
        str | None, typer.Option("--only", help="Do these rewrites, and no others.", metavar="NAME,NAME", autocompletion=rewrite_names)
    ] = None,
    without: Annotated[
        str, typer.Option("--without", help="Leave these rewrites out.", metavar="NAME,NAME", autocompletion=rewrite_names)
    ] = "",
    data: Annotated[Path | None, typer.Option("--data", help="Real inputs x to verify on too.", metavar="D.npz")] = None,
    tolerance: Annotated[float | None, typer.Option("--tolerance", help="Largest error that passes.", metavar="T")] = None,
    *,
    reading: Keywords,
) -> Answer:
    """Merge layers that compute the same in one, exactly; verify the network, and write it as ONNX, for any engine."""
    from ..runner.simplify import simplify as simplify_network

    done = simplify_network(
        model, output, only=None if only is None else _names(only), without=_names(without), data=data, tolerance=tolerance,
        progress=work.say, **reading,
    )  # fmt: skip
    return Answer(list(_shown(done, output)), {"output": str(output), **done.to_dict()})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _shown(done: Simplification, output: Path) -> Iterator[Any]:
    from ..runner.report import size
    from ..runner.simplify_report import NOTHING, merges_table, simplified_line

    if done.simplified.merges:
        yield merges_table(done.simplified)
        yield simplified_line(done.simplified.to_dict())
    else:
        yield NOTHING
    check = done.verified
    yield (
        f"verified  against {check.reference} on {check.inputs} inputs: largest error {check.errors.absolute:.1e},"
        f" {check.errors.relative:.1e} of the largest output (tolerance {check.tolerance.value:.1e}, {check.tolerance.reason})"
    )
    for note in check.notes:
        yield f"          {note}"
    yield f"wrote     {output} ({size(done.bytes)})"
