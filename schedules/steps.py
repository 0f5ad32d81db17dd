"""The element-wise steps behind the layers of a kernel, as expressions of TE."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import ir, te

from .kernel import EpilogueStep
from .operators import ELEMENTWISE, has_operand

Step = tuple[Any, ...]  # the name of an operator in Relax and its arguments; one that is an array is the number of an operand


def activated(value: ir.Expr, steps: Sequence[Step], operands: Sequence[te.Tensor], channel: ir.Expr) -> ir.Expr:
    """Apply steps to a value.

    Parameters
    ----------
    value : Expr
        A result of a layer.
    steps : sequence of tuple
        As `numbered` makes them.
    operands : sequence of te.Tensor
        What the steps name by number: one value for each channel.
    channel : Expr
        The channel of the value.
    """
    for name, *arguments in steps:
        if has_operand(name):
            arguments = [operands[arguments[0]][channel]]
        step = ELEMENTWISE[name].step
        assert step is not None
        value = step(value, *arguments)
    return value


def numbered(
    steps: Sequence[EpilogueStep], operands: list[np.ndarray], spread: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[Step, ...]:
    """Let steps name their arrays by number.

    Parameters
    ----------
    steps : sequence of EpilogueStep
        Steps with arrays of one value for each channel.
    operands : list of ndarray
        The arrays are appended here; their positions are the numbers.
    spread : callable, optional
        Puts the values in the order in which the channels lie.
    """
    found: list[Step] = []
    for step in steps:
        arguments = step.arguments
        if has_operand(step.name):
            operands.append(arguments[0] if spread is None else spread(arguments[0]))
            arguments = (len(operands) - 1,)
        found.append((step.name, *arguments))
    return tuple(found)
