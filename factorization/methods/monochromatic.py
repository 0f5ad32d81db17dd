"""Monochromatic filters: a pointwise convolution C -> C' onto colours, then a Y x X one in which every filter sees a single colour.

Source: Denton et al. 2014, section 3.3, for the first layer of a network. The paper clusters the leading left singular vectors of the
filters, and takes the centres of the clusters for the colours. That is the start here; clusters, colours and planes are then fitted to the
filters themselves, in any of the metrics (`colours`).

Stride, padding and dilation all go to the second stage.
"""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..chain import FactorChain, Stage
from ..layer import Layer
from ..method import Method, Shapes
from ..metrics import METRICS, Metric
from ..solvers.shared_colours import shared_colours


class Monochromatic(Method):
    """Rank C', the number of colours: a divisor of F, for F/C' filters share each.

    C' C MACs for a pixel of the input, F Y X for a pixel of the output, where the layer has F C Y X.
    """

    name = "monochromatic"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ V[f,y,x] U[k,c] for f in cluster k"
    exact = False
    metrics = METRICS

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        return (layer.out_channels,)

    def rounded(self, layer: Layer, ranks: tuple[int, ...], multiple: int, up: bool) -> tuple[int, ...]:
        """Leave the ranks as they are: a multiple need not divide F."""
        return ranks

    def _rungs(self, layer: Layer, multiple: int, steps: int) -> Iterable[tuple[int, ...]]:
        return [(colours,) for colours in range(1, layer.out_channels + 1) if layer.out_channels % colours == 0]

    def _refuse(self, layer: Layer) -> str | None:
        f, c, *kernel = layer.weight_shape
        if c == 1:
            return "one input channel: it has no colours"
        if f == 1:
            return "one output channel: no filters to share a colour"
        return "1 x 1 kernel: filters are nothing but their colour, channel_svd applies" if kernel == [1, 1] else None

    def _refuse_ranks(self, layer: Layer, ranks: tuple[int, ...]) -> str | None:
        return f"{layer.out_channels} filters do not divide into {ranks[0]} clusters" if layer.out_channels % ranks[0] else None

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        return (ranks[0], c, 1, 1), (f, 1, y, x)

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {}, {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": ranks[0]}

    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        f, c, y, x = weight.shape
        colours, members, planes = shared_colours(weight.reshape(f, c, y * x).astype(np.float64), ranks[0], metric)
        size = np.sqrt(np.linalg.norm(planes[members], axis=(1, 2)) / np.maximum(np.linalg.norm(colours, axis=1), np.finfo(float).tiny))
        size = np.where(size > 0, size, 1.0)[:, None]  # shared evenly by the two stages
        order = members.ravel()
        factors = colours * size, planes[order] / np.repeat(size, f // ranks[0], axis=0)
        stages = [
            Stage(np.ascontiguousarray(factor.reshape(shape), np.float32), **geometry)
            for factor, shape, geometry in zip(factors, self._shapes(layer, ranks), self._geometry(layer, ranks), strict=True)
        ]
        return FactorChain(tuple(stages), None if np.array_equal(order, np.arange(f)) else np.argsort(order))
