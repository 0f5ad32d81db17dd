"""`tenfold targets`: the devices to compile for."""
from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from .answer import Answer
from .app import command
from .complete import target_names
from .work import Work


@command
def targets(
    work: Work,
    name: Annotated[
        str | None,
        typer.Argument(help="A preset's name, host, NAME.toml, or a TVM target as JSON.", metavar="NAME", autocompletion=target_names),
    ] = None,
) -> Answer:
    """List the devices to compile for, or describe one."""
    work.say("looking at the devices")
    from ..runner.abilities import ability
    from ..runner.report import target_lines, targets_table
    from ..targets import detection, presets, resolve

    if name is not None:
        target = resolve(name)
        return Answer([f"{key:<24}{value}" for key, value in target_lines(target)], asdict(target))
    host = {"cpu": detection.cpu_model(), "cores": detection.physical_cores()}
    here = f"this machine, {host['cpu']}, {host['cores']} physical cores"
    can = {preset.name: ability(preset) for preset in presets()}
    content = {"host": host, "presets": [{**asdict(preset), "can": asdict(can[preset.name])} for preset in presets()]}
    more = "Any of them runs on a machine that it is for: tenfold serve there, --device HOST:PORT here."
    return Answer([targets_table(presets(), can), f"host: {here}; tenfold targets host tells more", more], content)
