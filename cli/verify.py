"""`tenfold verify`: whether an artifact is what it was compiled from, on the device that runs it."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .answer import Answer
from .app import command
from .compile import verified_lines
from .options import Device, Trust
from .work import Work


@command
def verify(
    work: Work,
    folder: Annotated[Path, typer.Argument(help="An artifact folder.", metavar="DIR")],
    model: Annotated[
        str | None, typer.Option("--model", help="What it was compiled from; default: where that was, or reference.npz.", metavar="MODEL")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Images x to verify on too.", metavar="D.npz")] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Largest error that passes; default: as it was compiled.", metavar="T")
    ] = None,
    device: Device = None,
    trust: Trust = False,
) -> Answer:
    """Verify a compiled network on the device that runs it, and note that in its manifest."""
    work.say("loading the artifact")
    from ..runner import verification

    manifest = verification.verify(folder, model, device=device, data=data, tolerance=tolerance, trust=trust, progress=work.say)
    content = {"artifact": str(folder), "verification": json.loads(manifest.to_json())["verification"]}
    return Answer([*verified_lines(manifest), f"wrote     {folder / 'manifest.json'}"], content)
