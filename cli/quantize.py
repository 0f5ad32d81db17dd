"""`tenfold quantize`: the same network in integers of eight bits, as ONNX."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answer import Answer
from .app import command
from .complete import activation_names, calibration_names
from .options import Keywords, Model
from .work import Work


@command
def quantize(
    work: Work,
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.", metavar="FILE.onnx")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Images x to calibrate with; labels y for the accuracy.", metavar="D.npz")
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration", help="Of ranges: minmax, mse, percentile or kl.", metavar="HOW", autocompletion=calibration_names
        ),
    ] = "minmax",
    activations: Annotated[
        str, typer.Option("--activations", help="Their type: uint8 or int8.", metavar="TYPE", autocompletion=activation_names)
    ] = "uint8",
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="One step for a whole weight, not one for each channel.")] = False,
    no_equalize: Annotated[bool, typer.Option("--no-equalize", help="Scale no channels between layers.")] = False,
    clip_weights: Annotated[bool, typer.Option("--clip-weights", help="Let the largest weights saturate where that errs less.")] = False,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="Leave this layer in float32; may be given again.", metavar="LAYER")
    ] = None,
    keep_ends: Annotated[bool, typer.Option("--keep-ends", help="Leave the first and the last layer in float32.")] = False,
    *,
    reading: Keywords,
) -> Answer:
    """Quantize a trained network to integers of eight bits; write it as ONNX that engines run, and tell what it costs."""
    from ..runner.quantize.quantize import quantize as quantize_network
    from ..runner.quantize.report import report
    from ..runner.quantize.settings import QuantizationSettings

    settings = QuantizationSettings(
        calibration, activations, per_channel=not per_tensor, equalize=not no_equalize, clip_weights=clip_weights,
        keep=tuple(keep or ()), keep_ends=keep_ends,
    )  # fmt: skip
    done = quantize_network(model, output, data=data, settings=settings, progress=work.say, **reading)
    return Answer([*report(done), f"wrote     {output}"], {"output": str(output), **done.to_dict()})
