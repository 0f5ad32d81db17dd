"""What every emitter of a factor chain needs: checks of names, permutations moved into weights, the weight of a dense stage."""
from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..factorization import FactorChain, Stage
from ..support.errors import TenfoldError


def push_permutations(chain: FactorChain) -> FactorChain:
    """Move the permutations of a chain into its weights, as far as its groups allow; those that are left need a gather.

        W (P x) = (W P) x        P (W x) = (P W) x

    A permutation of the input goes into the input channels of its own stage if that has no groups, else into the output channels of
    the stage before; the permutation of the output goes into the output channels of the last stage.
    """
    stages = list(chain.stages)
    for i, stage in enumerate(stages):
        order = stage.input_permutation
        if order is None:
            continue
        if stage.groups == 1:
            weight = np.empty_like(stage.weight)
            weight[:, order] = stage.weight
            stages[i] = replace(stage, weight=weight, input_permutation=None)
        elif i > 0 and stages[i - 1].groups == 1:
            stages[i - 1] = _reordered(stages[i - 1], order)
            stages[i] = replace(stage, input_permutation=None)
    order = chain.permutation
    if order is not None and stages[-1].groups == 1:
        stages[-1], order = _reordered(stages[-1], order), None
    return FactorChain(tuple(stages), order)


def _reordered(stage: Stage, order: np.ndarray) -> Stage:
    """The stage with its output channels in another order."""
    return replace(stage, weight=stage.weight[order], bias=None if stage.bias is None else stage.bias[order])


def check_names(chains: Iterable[str], layers: list[str]) -> None:
    """Raise TenfoldError for the first chain whose name is not among the layers."""
    for name in chains:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the layers are {', '.join(layers)}"
            raise TenfoldError(f"there is no layer {name!r}; {hint}")


def dense_weight(stage: Stage) -> np.ndarray:
    """The weight of a dense stage as (inputs, outputs), with zeros between groups.

    Raises
    ------
    ValueError
        The stage is not pointwise.
    """
    if stage.kernel != (1, 1) or stage.stride != (1, 1) or any(stage.padding):
        raise ValueError(f"a dense layer takes 1 x 1 stages, not {stage.kernel[0]} x {stage.kernel[1]}")
    weight = np.zeros((stage.in_channels, stage.out_channels), np.float32)
    width, height = stage.weight.shape[1], stage.out_channels // stage.groups
    for g in range(stage.groups):
        weight[g * width : (g + 1) * width, g * height : (g + 1) * height] = stage.weight[g * height : (g + 1) * height, :, 0, 0].T
    return weight
