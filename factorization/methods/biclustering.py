"""What both biclustering forms share: G clusters of input channels, H of output channels, and a chain of grouped convolutions.

    grouped pointwise (G) C -> G H K1, grouped Y x X, grouped pointwise (H) G H K2 -> F

Source: Denton et al. 2014, section 3.4. The weight falls into G x H blocks, each with low-rank factors of its own. Stages 0 and 1 hold the
blocks in the order (g, h), stage 2 reads them in the order (h, g). The permutations of the chain put channels into clusters and back.

Stride, padding and dilation all go to the middle stage.
"""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from math import prod

import numpy as np

from ..chain import FactorChain, Stage
from ..layer import Layer
from ..method import Method, parts, scaled
from ..metrics import METRICS, Metric
from ..solvers.biclustering_fit import Blocks, Form, fit


class Biclustering(Method):
    """Ranks: G, a divisor of C; H, a divisor of F; then those of the blocks.

    The clusters depend on the weight, the metric, G and H alone, so that more rank never makes the Frobenius error greater.
    `biclustering_fit` says how each of the metrics is minimised.
    """

    kind = "conv2d"
    exact = False
    metrics = METRICS

    @property
    @abstractmethod
    def _form(self) -> Form:
        """Form of the factors of a block."""

    @abstractmethod
    def _block_limits(self, filters: int, channels: int, taps: int) -> tuple[int, ...]:
        """The largest ranks of a block."""

    @abstractmethod
    def _usual_clusters(self, layer: Layer) -> list[tuple[int, int]]:
        """Pairs G, H that are worth a try."""

    @abstractmethod
    def _usual_limits(self, filters: int, channels: int, taps: int) -> tuple[int, ...]:
        """The largest ranks of a block that are worth a try."""

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        """C and F, and the ranks of a block that is the whole weight: smaller blocks have smaller limits."""
        return layer.in_channels, layer.out_channels, *self._block_limits(*_block(layer, 1, 1))

    def rounded(self, layer: Layer, ranks: tuple[int, ...], multiple: int, up: bool) -> tuple[int, ...]:
        """The numbers of clusters stay."""
        g, h, *inner = ranks
        if up:
            limits = self._block_limits(*_block(layer, g, h))
            return g, h, *(min(-(-rank // multiple) * multiple, limit) for rank, limit in zip(inner, limits, strict=True))
        return g, h, *(rank // multiple * multiple or rank for rank in inner)

    def _rungs(self, layer: Layer, multiple: int, steps: int) -> Iterable[tuple[int, ...]]:
        clusters = self._usual_clusters(layer)
        for g, h in clusters:
            for part in parts(max(2, steps // len(clusters))):
                yield g, h, *scaled(self._usual_limits(*_block(layer, g, h)), part, multiple)

    def _refuse(self, layer: Layer) -> str | None:
        f, c, *kernel = layer.weight_shape
        if min(f, c) < 2:
            return f"too few channels to cluster: {c} in, {f} out"
        return "1 x 1 kernel: its blocks are matrices, channel_svd applies" if kernel == [1, 1] else None

    def _refuse_ranks(self, layer: Layer, ranks: tuple[int, ...]) -> str | None:
        g, h, *inner = ranks
        for channels, count, side in ((layer.in_channels, g, "input"), (layer.out_channels, h, "output")):
            if channels % count:
                return f"{channels} {side} channels do not divide into {count} clusters"
        filters, channels, taps = _block(layer, g, h)
        for rank, limit in zip(inner, self._block_limits(filters, channels, taps), strict=True):
            if rank > limit:
                return f"rank {rank} is above {limit}, the highest for blocks of {channels} to {filters} channels"
        return None

    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        f, c, y, x = weight.shape
        g, h, *inner = ranks
        blocks = fit(self._form, weight.reshape(f, c, y * x).astype(np.float64), (g, h), tuple(inner), metric)
        return self._assembled(layer, ranks, blocks)

    def _assembled(self, layer: Layer, ranks: tuple[int, ...], blocks: Blocks) -> FactorChain:
        """The factors of the blocks as the stages of a chain."""
        g, h = ranks[:2]
        last = blocks.last.transpose(1, 2, 0, 3)  # h, f, g, k
        channels = np.arange(g * h * last.shape[3]).reshape(g, h, -1).transpose(1, 0, 2)
        orders = _order(blocks.inputs), None, _order(channels)
        stages = []
        for factor, shape, geometry, order in zip(
            (blocks.first, blocks.middle, last), self._shapes(layer, ranks), self._geometry(layer, ranks), orders, strict=True
        ):
            stages.append(Stage(np.ascontiguousarray(factor.reshape(shape), np.float32), input_permutation=order, **geometry))
        return FactorChain(tuple(stages), _order(np.argsort(blocks.outputs.ravel())))


def blocks_geometry(layer: Layer, g: int, groups: int, h: int) -> tuple[dict, ...]:
    """Geometry of the three stages, as keywords of `Stage`.

    Parameters
    ----------
    layer : Layer
        Its stride, padding and dilation go to the middle stage.
    g : int
        Groups of the first stage.
    groups : int
        Groups of the middle stage.
    h : int
        Groups of the last stage.
    """
    middle = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": groups}
    return {"groups": g}, middle, {"groups": h}


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that is not above a limit of at least 1."""
    return max(d for d in range(1, limit + 1) if number % d == 0)


def _block(layer: Layer, g: int, h: int) -> tuple[int, int, int]:
    """Filters, channels and taps of a block."""
    return layer.out_channels // h, layer.in_channels // g, prod(layer.kernel)


def _order(order: np.ndarray) -> np.ndarray | None:
    """None for the order that changes nothing."""
    order = order.ravel()
    return None if np.array_equal(order, np.arange(len(order))) else order
