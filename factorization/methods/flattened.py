"""Flattened layers: sets of a lateral (pointwise), a vertical and a horizontal (depthwise) convolution, each with a bias.

Source: Jin, Dundar and Culurciello 2015, "Flattened convolutional neural networks for feedforward acceleration", section 3 and
figure 2. It is a structure to train. What a trained layer gives for a start is its CP of rank K, K filters in the sets before the
last (the paper: K = F): one set holds its filters, the vertical and horizontal filters of the others pass every pixel on, all biases
are 0. So the error at the start is that of `cp`, for more multiplications; training then moves all of it.

    lateral-vertical-horizontal, l = 2    C -> K pointwise, Y x 1, 1 x X, K -> F pointwise, Y x 1, 1 x X (over F channels)
    vertical-horizontal-lateral, l = 2    Y x 1, 1 x X (over C channels), C -> K pointwise, Y x 1, 1 x X, K -> F pointwise

The text's formula F (F + C + 2 X + 2 Y) counts the first order: 31,232 and 103,424 weights for layers 2 and 3 of the paper's network.
Its table 1 says 30,912 and 102,144, which is the second order: C (X + Y) + C F + F (X + Y) + F F.

The layer's stride, padding and dilation go to the set with the filters of the CP; the others keep the size of the image.
"""
from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from ..chain import FactorChain
from ..layer import Layer
from ..method import Shapes
from ..metrics import METRICS, Metric
from .cp import Cp
from .separated import identity_geometries, identity_weights, pass_geometries, pass_shapes


class Flattened(Cp):
    """Rank K up to that of `cp`: the filters of every set but the last.

    Parameters
    ----------
    sets
        l, at least 2.

    Raises
    ------
    ValueError
        For fewer sets: one alone is of rank 1 in each filter.
    """

    name = "flattened"
    algebra = "W[f,c,y,x] ~ sum_k A[f,k] H[k,x] V[k,y] B[k,c], in sets of lateral, vertical, horizontal"
    starting_point = True
    metrics = METRICS
    lateral_first = True

    def __init__(self, sets: int = 2):
        if sets < 2:
            raise ValueError(f"{sets} sets: the factors of a CP need at least 2 sets")
        self.sets = sets

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        shapes: list[tuple[int, int, int, int]] = []
        for inputs, outputs in self._widths(layer, ranks):
            lateral, lines = ((outputs, inputs, 1, 1),), pass_shapes(layer, self._line_channels(inputs, outputs))
            shapes += self._ordered(lateral, lines)
        return tuple(shapes)

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        geometries: list[dict] = []
        for i, (inputs, outputs) in enumerate(self._widths(layer, ranks)):
            lines = pass_geometries if self._filters(i) else identity_geometries
            geometries += self._ordered(({},), lines(layer, self._line_channels(inputs, outputs)))
        return tuple(geometries)

    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        first, *lines, last = (stage.weight for stage in Cp().factorize(weight, layer, ranks, metric=metric).stages)
        weights: list[np.ndarray] = []
        for i, lateral in enumerate((first, *[_eye(ranks[0])] * (self.sets - 2), last)):
            channels = self._line_channels(lateral.shape[1], lateral.shape[0])
            weights += self._ordered((lateral,), tuple(lines) if self._filters(i) else identity_weights(layer, channels))
        chain = self._chain(layer, ranks, [np.ascontiguousarray(w, np.float32) for w in weights])
        return FactorChain(tuple(replace(stage, bias=np.zeros(stage.out_channels, np.float32)) for stage in chain.stages))

    def _widths(self, layer: Layer, ranks: tuple[int, ...]) -> list[tuple[int, int]]:
        """Channels before and after the lateral filters of each set."""
        return list(pairwise([layer.in_channels, *ranks * (self.sets - 1), layer.out_channels]))

    def _filters(self, i: int) -> bool:
        """Whether set i is the one between the two pointwise factors of the CP."""
        return i == (0 if self.lateral_first else self.sets - 1)

    def _line_channels(self, inputs: int, outputs: int) -> int:
        return outputs if self.lateral_first else inputs

    def _ordered(self, lateral: tuple, lines: tuple) -> tuple:
        return (*lateral, *lines) if self.lateral_first else (*lines, *lateral)


class FlattenedVhl(Flattened):
    """The lateral filters last in each set, so that those of the first set widen what its lines have filtered."""

    name = "flattened_vhl"
    algebra = "W[f,c,y,x] ~ sum_k A[f,k] H[k,x] V[k,y] B[k,c], in sets of vertical, horizontal, lateral"
    lateral_first = False


def _eye(channels: int) -> np.ndarray:
    return np.eye(channels)[:, :, None, None]
