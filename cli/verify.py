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
    from ..runtime.manifest import MANIFEST
    from ..runtime.sizes import numbered, read_manifests, shapes_text

    verification.verify(folder, model, device=device, data=data, tolerance=tolerance, trust=trust, progress=work.say)
    manifests = read_manifests(folder)
    found = [json.loads(manifest.to_json())["verification"] for manifest in manifests]
    content = {"artifact": str(folder), "verification": found[0], **({"sizes": found} if len(found) > 1 else {})}
    lines = []
    for number, manifest in enumerate(manifests, 1):
        lines += [f"size      {shapes_text(manifest)}"] * (len(manifests) > 1) + list(verified_lines(manifest))
        lines.append(f"wrote     {folder / numbered(MANIFEST, number)}")
    return Answer(lines, content)
