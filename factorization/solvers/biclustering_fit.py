"""Clusters, and the factors of the blocks between them, in each of the metrics.

Frobenius: the blocks lie apart in the weight, each is fitted by itself.

Mahalanobis: Denton et al. (section 3.1) fit alpha .* W and multiply the result by alpha^-1, element by element. That leaves factors only
where alpha is an outer product of one vector for each mode, so such an alpha takes its place while clusters and factors are found; the
last stage is then solved for with alpha itself.

Covariance: the moment of the data ties the blocks of one output cluster together. From the Frobenius factors on, the last stage (all
blocks of an output cluster at once) and the middle one (block by block) are solved for in turn, by least squares in the metric itself.

In both, the result is never farther from the weight than the Frobenius factors are, in that metric.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from ..metrics import Covariance, Mahalanobis, Metric
from .clusters import subspace_clusters
from .linalg import damped

SWEEPS = 2  # over last and middle stages; the third gains a twentieth of the first
_MOST_ELEMENTS = 2**22  # of an array that is held at a time


class Form(ABC):
    """What the factors of a block of filters x channels x taps are: first K1 x C, middle, last F x K2."""

    @abstractmethod
    def factors(self, blocks: np.ndarray, ranks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First, middle and last factors of n blocks, n x F x C x P, nearest in the Frobenius norm, float64."""

    @abstractmethod
    def features(self, first: np.ndarray, middle: np.ndarray) -> np.ndarray:
        """The kernels that the last factors mix, ... x K2 x C x P."""

    @abstractmethod
    def middle_step(self, first: np.ndarray, pull: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """What to add to a block's middle factor.

        Parameters
        ----------
        first
            K1 x C.
        pull
            K2 x C x P: what is missing, weighted by the metric and by the last factor.
        inputs, outputs
            Gram matrices, (K1 P) x (K1 P) of the first factor at each tap, in the metric; K2 x K2 of the last factor.
        """


@dataclass(frozen=True, eq=False)
class Blocks:
    """Factors of the blocks, and the channels of the clusters.

    Parameters
    ----------
    inputs, outputs
        G x C/G and H x F/H int.
    first, middle, last
        G x H x K1 x C/G, G x H x ..., G x H x F/H x K2, float64.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray

    def cut(self, tensor: np.ndarray) -> np.ndarray:
        """F x C x P as G x H x F/H x C/G x P."""
        return cut(tensor, self.inputs, self.outputs)


def fit(form: Form, weight: np.ndarray, counts: tuple[int, int], ranks: tuple[int, ...], metric: Metric) -> Blocks:
    """Clusters and factors for a weight F x C x P, float64.

    Parameters
    ----------
    counts
        G and H.
    ranks
        Of the blocks, as `form` takes them.
    """
    if isinstance(metric, Mahalanobis):
        alpha = metric.alpha.reshape(weight.shape).astype(np.float64)
        ones = tuple(np.ones(size) for size in weight.shape)
        found = [_fit_weighted(form, weight, counts, ranks, alpha, scales) for scales in (ones, separable(alpha))]
        return min(found, key=lambda blocks: np.linalg.norm(blocks.cut(alpha) * _missing(form, weight, blocks)))
    blocks = _fit_plain(form, weight, counts, ranks)
    return _fit_to_data(form, weight, blocks, metric) if isinstance(metric, Covariance) else blocks


def cut(tensor: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Cut a tensor into blocks: G x H x F/H x C/G x P.

    Parameters
    ----------
    tensor : ndarray, F x C x P
    inputs : ndarray of int, G x C/G
        Input channels of each cluster.
    outputs : ndarray of int, H x F/H
        Filters of each cluster.
    """
    ordered = tensor[np.ix_(outputs.ravel(), inputs.ravel())]
    return ordered.reshape(*outputs.shape, *inputs.shape, tensor.shape[2]).transpose(2, 0, 1, 3, 4)


def separable(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vectors a, b, d whose outer product has, squared, the same sums over each two modes as alpha, F x C x P, but for a factor."""
    return tuple(np.sqrt(np.square(alpha).mean(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))


def _fit_plain(form: Form, weight: np.ndarray, counts: tuple[int, int], ranks: tuple[int, ...]) -> Blocks:
    g, h = counts
    columns, rows = weight.transpose(1, 0, 2).reshape(weight.shape[1], -1), weight.reshape(len(weight), -1)
    inputs, outputs = subspace_clusters(columns @ columns.T, g), subspace_clusters(rows @ rows.T, h)
    blocks = cut(weight, inputs, outputs)
    factors = form.factors(blocks.reshape(g * h, *blocks.shape[2:]), ranks)
    return Blocks(inputs, outputs, *(factor.reshape(g, h, *factor.shape[1:]) for factor in factors))


def _missing(form: Form, weight: np.ndarray, blocks: Blocks) -> np.ndarray:
    """What the factors leave of the weight, G x H x F/H x C/G x P."""
    features = form.features(blocks.first, blocks.middle)
    flat = np.matmul(blocks.last, features.reshape(*features.shape[:3], -1))
    return blocks.cut(weight) - flat.reshape(*flat.shape[:3], *features.shape[3:])


def _fit_weighted(
    form: Form, weight: np.ndarray, counts: tuple[int, int], ranks: tuple[int, ...], alpha: np.ndarray, scales: tuple[np.ndarray, ...]
) -> Blocks:
    """Fit the last factors by least squares weighted with alpha, filter by filter, from the factors of the scaled weight."""
    a, b, d = scales
    blocks = _fit_plain(form, a[:, None, None] * b[:, None] * d * weight, counts, ranks)
    first, middle = blocks.first / b[blocks.inputs][:, None, None], blocks.middle / d
    blocks = replace(blocks, first=first, middle=middle, last=blocks.last / a[blocks.outputs][..., None])
    features = form.features(first, middle)
    features = features.reshape(*features.shape[:3], -1)
    squared, missing = np.square(blocks.cut(alpha)), _missing(form, weight, blocks)
    last = blocks.last.copy()
    for i, j in np.ndindex(last.shape[:2]):
        of_block = (array[i, j].reshape(last.shape[2], -1) for array in (squared, missing))
        last[i, j] += _weighted_step(features[i, j], *of_block)
    return replace(blocks, last=last)


def _weighted_step(features: np.ndarray, squared: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """What K x D features, mixed, add to each row of F x D, with weights for every element: F x K."""
    rows = max(1, _MOST_ELEMENTS // features.size)
    steps = []
    for begin in range(0, len(missing), rows):
        seen = squared[begin : begin + rows, None] * features
        right = np.matmul(seen, missing[begin : begin + rows, :, None])
        steps.append(np.linalg.solve(damped(np.matmul(seen, features.T)), right)[..., 0])
    return np.concatenate(steps)


def _fit_to_data(form: Form, weight: np.ndarray, blocks: Blocks, metric: Covariance) -> Blocks:
    g, h = blocks.last.shape[:2]
    taps = weight.shape[2]
    order = (blocks.inputs.ravel()[:, None] * taps + np.arange(taps)).ravel()
    moment = metric.moment[np.ix_(order, order)].reshape(g, -1, len(order))
    for _ in range(SWEEPS):
        blocks = _last_stage(form, weight, blocks, moment)
        blocks = _middle_stage(form, weight, blocks, moment)
    return _last_stage(form, weight, blocks, moment)


def _last_stage(form: Form, weight: np.ndarray, blocks: Blocks, moment: np.ndarray) -> Blocks:
    """The last factors of all blocks of an output cluster at once. ``moment``: G x (C/G P) x (C P), in the order of the clusters."""
    g, h, filters, rank = blocks.last.shape
    last, missing = blocks.last.copy(), _missing(form, weight, blocks).reshape(g, h, filters, -1)
    features = form.features(blocks.first, blocks.middle).reshape(g, h, rank, -1)
    for j in range(h):
        kernels = features[:, j]
        seen = np.matmul(kernels, moment).reshape(g * rank, g, -1).transpose(1, 0, 2)  # of every block's columns, by all kernels
        normal = np.matmul(seen, kernels.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(g * rank, g * rank)
        right = np.matmul(seen, missing[:, j].transpose(0, 2, 1)).sum(axis=0)
        last[:, j] += scipy.linalg.solve(damped(normal), right, assume_a="pos").reshape(g, rank, filters).transpose(0, 2, 1)
    return replace(blocks, last=last)


def _middle_stage(form: Form, weight: np.ndarray, blocks: Blocks, moment: np.ndarray) -> Blocks:
    """The middle factors, one block after the other."""
    g, h, filters, _ = blocks.last.shape
    channels, taps = blocks.inputs.shape[1], weight.shape[2]
    middle, missing = blocks.middle.copy(), _missing(form, weight, blocks).reshape(g, h, filters, -1)
    for i, j in np.ndindex(g, h):
        first, last = blocks.first[i, j], blocks.last[i, j]
        own = moment[i].reshape(-1, g, channels * taps)[:, i].reshape(channels, taps, channels, taps)
        inputs = np.tensordot(np.tensordot(first, own, 1), first, (2, 1)).transpose(0, 1, 3, 2)
        pull = (last.T @ missing[:, j].transpose(1, 0, 2).reshape(filters, -1)) @ moment[i].T
        size = len(first) * taps
        step = form.middle_step(first, pull.reshape(-1, channels, taps), damped(inputs.reshape(size, size)), damped(last.T @ last))
        middle[i, j] += step
        missing[i, j] -= last @ form.features(first, step).reshape(last.shape[1], -1)
    return replace(blocks, middle=middle)

