"""`tenfold compress`: a network with factored layers, within a budget or by a recipe."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..support.errors import TenfoldError
from .answer import Answer
from .app import command
from .complete import method_names
from .options import Batch, InputShape, Model, Outputs, Silence, TargetOption, Threads, Trust, reading
from .work import Work


@command
def compress(
    work: Work,
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.onnx, plan.json and report.json.", metavar="DIR")],
    data: Annotated[Path | None, typer.Option("--data", help="Images x to calibrate with; labels y for a budget.", metavar="D.npz")] = None,
    max_drop: Annotated[float | None, typer.Option("--max-drop", help="Accuracy that may be lost.", metavar="POINTS")] = None,
    speedup: Annotated[float | None, typer.Option("--speedup", help="Times faster on the target.", metavar="X")] = None,
    latency: Annotated[float | None, typer.Option("--latency", help="Of one run on the target.", metavar="MS")] = None,
    file_size: Annotated[float | None, typer.Option("--size", help="Of model.onnx.", metavar="MB")] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="Write accuracy over milliseconds, MACs and bytes too.")] = False,
    plan: Annotated[Path | None, typer.Option("--plan", help="Do what this plan says.", metavar="PLAN.json")] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="The form; several to choose from, with a budget.", metavar="M,M", autocompletion=method_names),
    ] = None,
    energy: Annotated[float | None, typer.Option("--energy", help="Part of each weight's norm to keep; default: 0.9.", metavar="E")] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Of measurements; default: ~/.cache/tenfold.", metavar="DIR")] = None,
    threads: Threads = None,
    target: TargetOption = "host",
    device: Annotated[str | None, typer.Option("--device", help="Time there, where tenfold serve runs.", metavar="HOST:PORT")] = None,
    silence: Silence = None,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
) -> Answer:
    """Factor the layers of a network, within a budget or by energy, and write it as ONNX, with the plan and a report."""
    work.say("loading the compiler")
    from ..search import command as search

    bounds = {"max_drop": max_drop, "speedup": speedup, "latency": latency, "size": file_size}
    recipe = {"plan": plan, "method": method, "energy": energy}
    how = reading(input_shape, batch, outputs, trust)
    if any(bound is not None for bound in bounds.values()):
        settings = {"target": target, "threads": threads, "device": device, "silence": silence, "cache": cache, "pareto": pareto}
        work.kept = search.kept(cache)
        return Answer(*search.by_budget(model, output, data, bounds, recipe, settings, work.say, **how))
    if device is not None or silence is not None:
        raise TenfoldError(f"--device times candidates for a budget: give one too ({', '.join(search.OPTIONS.values())})")
    return Answer(*search.by_recipe(model, output, data, recipe, pareto, work.say, target=target, **how))
