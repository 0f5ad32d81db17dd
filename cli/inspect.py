"""`tenfold inspect`: what a network consists of, or an artifact."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..support.errors import TenfoldError
from .answer import Answer
from .app import command
from .compile import fact_lines, shared_lines
from .options import Keywords
from .work import Work

if TYPE_CHECKING:
    from ..runner.inspect_artifact import ArtifactInspection


@command
def inspect(
    work: Work,
    model: Annotated[str, typer.Argument(help="A network (.onnx or .pt2), or an artifact folder.", metavar="MODEL|DIR")],
    *,
    reading: Keywords,
) -> Answer:
    """List every convolution and dense layer: geometry, MACs, parameters, and which factored forms apply. Or say what an artifact is."""
    if Path(model).is_dir():
        return _artifact(work, Path(model), reading)
    work.say("reading the network")
    from ..runner.inspect import inspect as find
    from ..runner.report import inspection_table
    from ..runner.simplify_report import merges_table, simplified_line

    result = find(model, **reading)
    merged = [] if result.simplified is None or not result.simplified.merges else [merges_table(result.simplified)]
    lines = [simplified_line(result.simplified.to_dict())] if merged else []
    return Answer([inspection_table(result), *merged, *lines], result.to_dict())


def _artifact(work: Work, folder: Path, reading: Keywords) -> Answer:
    if given := [name for name, value in reading.items() if value is not None and value != (name == "simplify")]:
        option = {"input_shapes": "input-shape", "simplify": "no-simplify"}.get(given[0], given[0])
        raise TenfoldError(f"--{option} says how to read a model, and {folder} is an artifact: leave it out")
    work.say("reading the artifact")
    from ..runner.inspect_artifact import inspect_sizes, kernels_table
    from ..runtime.sizes import shapes_text

    found = inspect_sizes(folder)
    if len(found) == 1:
        return Answer([*_lines(found[0]), kernels_table(found[0])], found[0].to_dict())
    parts = [part for each in found for part in (f"size      {shapes_text(each.manifest)}", *_lines(each), kernels_table(each))]
    return Answer([*parts, *shared_lines(folder)], {**found[0].to_dict(), "sizes": [each.to_dict() for each in found]})


def _lines(found: ArtifactInspection) -> Iterator[str]:
    from ..runner.report import size

    manifest = found.manifest
    yield f"model     {manifest.name}" + (", factored by a plan" if manifest.plan else "")
    for word, ports in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        yield f"{word:<9} {', '.join(f'{port.name}: {port.dtype}{list(port.shape)}' for port in ports)}"
    yield from fact_lines(manifest)
    if manifest.verification is None:
        yield f"never verified: tenfold verify {found.folder} does that"
    if manifest.on_gpu:
        yield f"code for  {', '.join(manifest.target['features'])}"
    yield f"files     {', '.join(f'{name} {size(number)}' for name, number in found.files.items())}"
