"""Filters left out, chosen by what the layers behind see: Çallı (2017), section 2.1.2.

The filters go whose outputs vary least, as the layers behind see them, over the mean variance there. What these outputs are on the average
goes into the biases of the layers behind; corrections then fit those layers to what the dense network answers, as they do with chains.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...factorization import Choice, FactorChain, Layer, Stage
from ...factorization.methods.prune import NAME, kept_filters
from ...factorization.statistics import Statistics
from ...passes.prune import Readers, prunable
from ...support.errors import Refusal, TenfoldError
from .layer_sites import layer_bias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...frontends import Network


@dataclass(frozen=True)
class Pruned:
    """A layer without some of its filters.

    Attributes
    ----------
    chains : dict of str to FactorChain
        The layer's, whose filters that go are zero, and those of the layers behind it, which are as they were but for the bias.
    error : float
        Of what the layers behind answer, relative: the root of the part of their squared responses that is lost.
    """

    chains: dict[str, FactorChain]
    error: float


class Pruning:
    """Prunes layers of one network.

    Parameters
    ----------
    network : Network
    layers : list of Layer
    weights : mapping of str to ndarray
    statistics : mapping of str to Statistics
        Of the layers' inputs; may be empty: then norms of filters decide.
    """

    def __init__(
        self, network: Network, layers: Iterable[Layer], weights: Mapping[str, np.ndarray], statistics: Mapping[str, Statistics]
    ) -> None:
        self._network, self._weights, self._statistics = network, weights, statistics
        self._layers = {layer.name: layer for layer in layers}

    @cached_property
    def _prunable(self) -> dict[str, Readers | Refusal]:
        return prunable(self._network.onnx)

    def readers(self, name: str) -> tuple[Layer, ...] | Refusal:
        """The layers behind one, or why it can't be pruned."""
        found = self._prunable.get(name, Refusal("it is no convolution of the graph"))
        if isinstance(found, Refusal):
            return found
        if unknown := [reader for reader in found.names if reader not in self._layers]:
            return Refusal(f"{unknown[0]} behind it can't lose inputs")
        return tuple(self._layers[reader] for reader in found.names)

    def pruned(self, name: str, choice: Choice) -> Pruned:
        """A layer pruned.

        Parameters
        ----------
        name : str
        choice : Choice
            Of this method: how many filters stay.

        Raises
        ------
        TenfoldError
            The layer can't be pruned.
        """
        readers = self.readers(name)
        if isinstance(readers, Refusal):
            raise TenfoldError(f"layer {name!r}: {readers.reason}")
        scores = self._scores(name, readers)
        kept = np.sort(np.argsort(-scores, kind="stable")[: choice.ranks[0]])
        chains = {name: self.only(name, kept)}
        gone = np.setdiff1d(np.arange(len(scores)), kept)
        lost = total = 0.0
        for reader in readers:
            weight = self._weights[reader.name]
            columns = _of_channels(weight, len(scores))
            bias = np.zeros(len(weight))
            if reader.name in self._statistics:
                known = self._statistics[reader.name]
                mean, moment = known.mean.reshape(columns.shape[1:]), known.moment
                bias = np.einsum("fct,ct->f", columns[:, gone], mean[gone])
                centred = moment - np.outer(known.mean, known.mean)
                rows = weight.reshape(len(weight), -1)
                missing = kept_columns(weight, gone, len(scores)).reshape(rows.shape)
                lost += max(float(np.vdot(missing @ centred, missing)), 0.0)
                total += float(np.vdot(rows @ moment, rows))
            else:
                lost += float((columns[:, gone] ** 2).sum())
                total += float((columns**2).sum())
            chains[reader.name] = _as_chain(reader, kept_columns(weight, kept, len(scores)), bias)
        return Pruned(chains, float(np.sqrt(lost / total)) if total else 0.0)

    def only(self, name: str, kept: np.ndarray) -> FactorChain:
        """A layer with zeros in the place of all filters but these: their outputs are zero, whatever its bias."""
        layer = self._layers[name]
        bias = -layer_bias(self._network.onnx, layer)
        bias[kept] = 0
        return _as_chain(layer, kept_filters(self._weights[name], kept), bias)

    def _scores(self, name: str, readers: tuple[Layer, ...]) -> np.ndarray:
        """Of each filter; the lowest go."""
        weight = self._weights[name]
        scores = np.zeros(len(weight))
        for reader in readers:
            if reader.name not in self._statistics:
                return np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
            known = self._statistics[reader.name]
            variance = np.diag(known.moment) - known.mean**2
            by_channel = variance.reshape(len(weight), -1).mean(axis=1)
            scores = np.maximum(scores, by_channel / (by_channel.mean() or 1.0))
        return scores


def is_pruning(choice: Choice) -> bool:
    """Whether it leaves filters out."""
    return choice.method == NAME


def prunes(choices: Mapping[str, Choice]) -> bool:
    """Whether some of the choices do."""
    return any(map(is_pruning, choices.values()))


def kept_columns(weight: np.ndarray, channels: np.ndarray, count: int) -> np.ndarray:
    """A reader's weight with zeros for all of `count` channels but these."""
    columns = _of_channels(weight, count)
    result = np.zeros_like(columns)
    result[:, channels] = columns[:, channels]
    return result.reshape(weight.shape)


def _of_channels(weight: np.ndarray, count: int) -> np.ndarray:
    """(outputs, channels, numbers for each channel)."""
    return weight.reshape(len(weight), count, -1)


def _as_chain(layer: Layer, weight: np.ndarray, bias: np.ndarray) -> FactorChain:
    """One stage, which is the layer itself."""
    if layer.kind == "dense":
        return FactorChain((Stage(weight[:, :, None, None], bias),))
    return FactorChain((Stage(weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups),))
