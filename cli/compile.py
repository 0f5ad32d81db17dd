"""`tenfold compile`: a network as a shared library, verified."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .answer import Answer
from .app import command
from .options import Keywords, Model, TargetOption, Threads
from .work import Work

if TYPE_CHECKING:
    from ..runtime.manifest import Manifest


@command
def compile(
    work: Work,
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.so, weights.bin and manifest.json.", metavar="DIR")],
    target: TargetOption = "host",
    threads: Threads = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Factor the layers that this plan names.", metavar="PLAN.json")] = None,
    tolerance: Annotated[float | None, typer.Option("--tolerance", help="Largest error that passes.", metavar="T")] = None,
    *,
    reading: Keywords,
) -> Answer:
    """Compile a network to a shared library and its weights, and verify it against an independent engine."""
    work.say("loading the compiler")
    from ..runner import compile as compiler
    from ..runner.report import size

    begin = time.perf_counter()
    artifact = compiler.compile(model, target, output, plan=plan, threads=threads, tolerance=tolerance, progress=work.say, **reading)
    manifest, seconds = artifact.manifest, time.perf_counter() - begin
    content = {"output": str(output), "seconds": round(seconds, 3), "manifest": json.loads(manifest.to_json())}
    return Answer([*_facts(manifest), f"wrote     {output} ({size(manifest.bytes)}) in {seconds:.1f} s"], content)


def _facts(manifest: Manifest) -> Iterator[str]:
    from ..runner.report import count, size

    check = manifest.verification
    tvm = " ".join(f"{key}={value}" for key, value in manifest.target["tvm"].items())
    yield f"target    {manifest.target['name']} ({tvm})"
    yield f"threads   {manifest.threads}"
    yield f"cost      {count(manifest.macs)} MACs, {count(manifest.params)} parameters"
    yield (
        f"verified  against {check['reference']} on {check['inputs']} inputs: largest error {check['max_abs_error']:.1e},"
        f" {check['max_rel_error']:.1e} of the largest output (tolerance {check['tolerance']:.1e}, {check['tolerance_reason']})"
    )
    for note in check["notes"]:
        yield f"          {note}"
    parts = ", ".join(f"{size(number)} of {part}" for part, number in manifest.memory.items() if part != "planned")
    yield f"memory    {size(manifest.memory['planned'])}: {parts}"
