"""`tenfold run`: a compiled network on arrays of a file."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import TenfoldError
from .app import command
from .options import Threads


@command
def run(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.", metavar="DIR")],
    inputs: Annotated[Path, typer.Option("--input", help="The one input as .npy, or all by name as .npz.", metavar="X.npy|X.npz")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the outputs by name.", metavar="Y.npz")] = None,
    threads: Threads = None,
) -> None:
    """Run a compiled network on arrays of a file."""
    import numpy as np

    from ..runner.artifact import load
    from ..runner.data import read_arrays
    from ..runner.folder import whole_file
    from ..runner.report import console

    feeds = read_arrays(inputs)
    results = load(artifact, threads).run(feeds)
    out = console()
    for name, value in results.items():
        out.print(f"{name}: {value.dtype}{list(value.shape)}, {_summary(value)}")
    if output is not None:
        if output.suffix != ".npz":
            raise TenfoldError(f"{output}: the outputs are written as .npz: give a name that ends in it")
        with whole_file(output) as temporary, open(temporary, "wb") as file:
            np.savez(file, **results)
        out.print(f"wrote {output}")


def _summary(value: Any) -> str:
    if value.size and value.dtype.kind in "fiu":
        return f"from {value.min():.6g} to {value.max():.6g}, largest at {value.argmax()}"
    return f"{value.size} values"
