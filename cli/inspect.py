"""`tenfold inspect`: what a network consists of."""
from __future__ import annotations

from .answer import Answer
from .app import command
from .options import Keywords, Model
from .work import Work


@command
def inspect(
    work: Work,
    model: Model,
    *,
    reading: Keywords,
) -> Answer:
    """List every convolution and dense layer: geometry, MACs, parameters, and which factored forms apply."""
    work.say("reading the network")
    from ..runner.inspect import inspect as find
    from ..runner.report import inspection_table

    result = find(model, **reading)
    return Answer([inspection_table(result)], result.to_dict())
