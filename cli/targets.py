"""`tenfold targets`: the devices to compile for."""
from __future__ import annotations

from typing import Annotated

import typer

from .app import command


@command
def targets(
    name: Annotated[str | None, typer.Argument(help="A preset's name, host, or a TVM target as JSON.", metavar="NAME")] = None,
) -> None:
    """List the devices to compile for, or describe one."""
    from ..runner.report import console, target_lines, targets_table
    from ..targets import cpu, presets, resolve

    out = console()
    if name is None:
        out.print(targets_table(presets(), cpu.cpu_flags()))
        out.print(f"host: this machine, {cpu.cpu_model()}, {cpu.physical_cores()} physical cores; tenfold targets host tells more")
    else:
        for key, value in target_lines(resolve(name)):
            out.print(f"{key:<24}{value}", soft_wrap=True)
