"""`tenfold bench`: networks and engines side by side."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .app import command, progress
from .options import Batch, InputShape, JsonFile, Outputs, TargetOption, Threads, Trust, reading


@command
def bench(
    what: Annotated[list[str], typer.Argument(help="Model files and artifact folders.", metavar="WHAT...")],
    against: Annotated[str, typer.Option("--against", help="Some of onnxruntime,openvino,torch,torch-compile.", metavar="ENGINES")] = "",
    data: Annotated[Path | None, typer.Option("--data", help="Images x (preprocessed), labels y.", metavar="D.npz")] = None,
    runs: Annotated[int, typer.Option("--runs", help="Timed runs of each row.", metavar="N", min=1)] = 50,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time of each network in Tenfold goes.")] = False,
    threads: Threads = None,
    json: JsonFile = None,
    target: TargetOption = "host",
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> None:
    """Compare networks and engines side by side: milliseconds, memory, accuracy and error."""
    from ..runner import compare as work
    from ..runner.folder import write_text
    from ..runner.profile_report import profile_table
    from ..runner.report import comparison_table, console

    engines = [name.strip() for name in against.split(",") if name.strip()]
    how = reading(input_shape, batch, outputs, trust)
    with progress() as say:
        result = work.compare(
            what, against=engines, data=data, runs=runs, threads=threads, target=target, profile=profile, progress=say, **how
        )
    out = console()
    out.print(comparison_table(result))
    for row in result.rows:
        if row.profile is not None:
            out.print(profile_table(row.profile, row.model))
    for model, engine, reason in result.skipped:
        print(f"tenfold: no row for {model} in {engine}: {reason}", file=sys.stderr)
    if json is not None:
        write_text(json, result.to_json())
