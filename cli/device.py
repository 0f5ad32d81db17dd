"""`tenfold device`: the program that lets a machine without Python run networks."""
from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from .answer import Answer
from .app import command, group
from .options import TargetOption
from .work import Work

PORT = 9190
devices = group("device", "Make the program that lets a machine without Python run and time networks.")


@functools.partial(command, within=devices)
def build(
    work: Work,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for tenfold-device.", metavar="DIR")],
    target: TargetOption = "host",
) -> Answer:
    """Compile tenfold-device for a target's instruction set: copy it there, start it, and give --device HOST:PORT here."""
    work.say("compiling the program")
    from ..runner.devices.native import build_server, needed_glibc
    from ..runner.report import size
    from ..targets import resolve_cpu
    from ..targets.architectures import this_architecture

    architecture = this_architecture() if target == "host" else resolve_cpu(target).architecture.name
    program = build_server(architecture, output)
    glibc, bytes_ = needed_glibc(program), program.stat().st_size
    lines = [
        f"wrote     {program} ({size(bytes_)}), for {architecture} under Linux{glibc and f' with glibc {glibc} or newer'}",
        f"copy it   scp {program} BOARD:",
        f"start it  ssh -L {PORT}:127.0.0.1:{PORT} BOARD ./{program.name}",
        f"use it    --device 127.0.0.1:{PORT}",
    ]
    return Answer(lines, {"program": str(program), "bytes": bytes_, "architecture": architecture, "glibc": glibc or None})
