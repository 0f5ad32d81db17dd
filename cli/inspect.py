"""`tenfold inspect`: what a network consists of."""
from __future__ import annotations

from .app import command, progress
from .options import Batch, InputShape, JsonFile, Model, Outputs, Trust, reading


@command
def inspect(
    model: Model,
    input_shape: InputShape = None,
    batch: Batch = None,
    outputs: Outputs = None,
    trust: Trust = False,
    json: JsonFile = None,
) -> None:
    """List every convolution and dense layer: geometry, MACs, parameters, and which factored forms apply."""
    from ..runner import inspect as work
    from ..runner.folder import write_text
    from ..runner.report import console, inspection_table

    with progress() as say:
        say("reading the network")
        result = work.inspect(model, **reading(input_shape, batch, outputs, trust))
    console().print(inspection_table(result))
    if json is not None:
        write_text(json, result.to_json())
