"""`tenfold compile`: a network as a shared library, verified."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .app import command, progress
from .options import Batch, InputShape, Model, Outputs, TargetOption, Threads, Trust, reading


@command
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.so, weights.bin and manifest.json.", metavar="DIR")],
    target: TargetOption = "host",
    threads: Threads = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Factor the layers that this plan names.", metavar="PLAN.json")] = None,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Compile a network to a shared library and its weights, and verify it against an independent engine."""
    from ..runner import compile as work
    from ..runner.report import console, count, size

    begin = time.perf_counter()
    with progress() as say:
        artifact = work.compile(
            model, target, output, plan=plan, threads=threads, progress=say, **reading(input_shape, batch, outputs, trust)
        )
    manifest, out = artifact.manifest, console()
    check = manifest.verification
    tvm = " ".join(f"{key}={value}" for key, value in manifest.target["tvm"].items())
    out.print(f"target    {manifest.target['name']} ({tvm})")
    out.print(f"threads   {manifest.threads}")
    out.print(f"cost      {count(manifest.macs)} MACs, {count(manifest.params)} parameters")
    out.print(
        f"verified  against {check['reference']} on {check['inputs']} inputs: largest error {check['max_abs_error']:.1e},"
        f" {check['max_rel_error']:.1e} of the largest output (tolerance {check['tolerance']:.0e})"
    )
    parts = ", ".join(f"{size(number)} of {part}" for part, number in manifest.memory.items() if part != "planned")
    out.print(f"memory    {size(manifest.memory['planned'])}: {parts}")
    out.print(f"wrote     {output} ({size(manifest.bytes)}) in {time.perf_counter() - begin:.1f} s")
