"""Pruning: whole filters of a convolution are left out.

Source: Çallı 2017, "Faster and lighter convolutional neural networks", section 2.1.2: nodes are removed with all the weights connected to
them. As a chain the layer keeps all its outputs, and the filters that go are zero, so that the channels they make are constant; the rewrite
`passes.simplify.dead_channels` then takes these out of the layer and of those that read it. Which filters go is chosen by what the layers
behind see of them, where there are images (`search.calibration.pruning`); by the norm of the filter elsewhere.
"""
from __future__ import annotations

import numpy as np

from ...support.errors import Refusal
from ..layer import Layer
from ..method import FactoredMethod, Shapes, parts, scaled
from ..metrics import Metric

NAME = "prune"
FEWEST = 3  # filters, so that there is a choice


class Prune(FactoredMethod):
    """K of F filters are kept, up to F - 1. What that saves is in other layers too."""

    name = NAME
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ W[f,c,y,x] for K of the filters f, 0 for the others"
    exact = False
    starting_point = True

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        return (max(layer.out_channels - 1, 1),)

    def _refuse(self, layer: Layer) -> str | None:
        few = layer.out_channels < FEWEST
        return f"too few filters to prune: {layer.out_channels}" if few else None

    def _ranks_keeping(self, weight: np.ndarray, layer: Layer, energy: float) -> Refusal:
        return Refusal("pruning is for a budget: what it saves is in the layers behind too")

    def ladder(self, layer: Layer, multiple: int = 1, steps: int = 12) -> list[tuple[int, ...]]:
        """Multiples, where there are any below the number of filters. All have the MACs of the layer, until channels are taken out."""
        highest = self.max_ranks(layer)[0] // multiple * multiple
        return sorted({scaled((highest,), part, multiple) for part in parts(steps)}) if highest else [self.max_ranks(layer)]

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        return ((f, c, y, x),)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        norms = np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
        return (kept_filters(weight, np.argsort(-norms, kind="stable")[: ranks[0]]),)

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return ({"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation},)


def kept_filters(weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The weight with zeros in the place of all filters but these."""
    result = np.zeros(weight.shape, weight.dtype)  # C-contiguous, whatever the weight is
    result[kept] = weight[kept]
    return result
