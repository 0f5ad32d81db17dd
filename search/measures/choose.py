"""Which measure a budget of loss is in: it follows from the network, the data and what the user asks for.

A metric of the user's, where there is one. Otherwise accuracy for a classifier (one output, a vector of scores) with labels, its agreement
with the dense network without them, and the divergence of the outputs for any other network.
"""
from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...frontends.reference.free_batch import free_batch
from ...frontends.reference.graph_activations import GraphActivations
from ...runner.data import Data
from ...support.errors import TenfoldError, TenfoldWarning
from ..calibration.evaluation import Judge, check, first
from .measure import ACCURACY, AGREEMENT, Measure
from .metric import Metric
from .output_judge import OutputJudge
from .output_kinds import is_vector, kinds_of

if TYPE_CHECKING:
    from ...frontends import Network

SEEN_IMAGES = 32  # images whose outputs say of what kind these are


class Judging:
    """How one network is judged, on whatever images.

    Parameters
    ----------
    network : Network
        Dense.
    data : Data
        All of it.
    metric : Metric, optional
    kinds : dict of str to str
        Of the outputs for which the user says it.

    Raises
    ------
    TenfoldError
        The data does not fit the network, a metric has no labels, or an output can't be of the kind that is asked for.
    """

    def __init__(self, network: Network, data: Data, metric: Metric | None = None, kinds: Mapping[str, str] | None = None) -> None:
        self._network, self._metric = network, metric
        asked = kinds or {}
        data.check_all(network.inputs, network.name)
        if metric is not None and not data.labels:
            raise TenfoldError(f"{data.name}: there are no labels in it for --metric {metric}: y, or arrays of any other names")
        for name, array in data.labels.items() if metric is not None else ():
            if not array.ndim or len(array) != len(data.x):
                facts = f"{name} has shape {list(array.shape)}, there are {len(data.x)} images"
                raise TenfoldError(f"{data.name}: {facts}: labels for --metric {metric} have a row for each")
        self.classifies = metric is None and not asked and is_classifier(network)
        self._kinds: dict[str, str] = {}
        if self.classifies:
            check(network, data)
            return
        some = first(data, SEEN_IMAGES).x
        names = [output.name for output in network.outputs]
        batches = list(GraphActivations(free_batch(network.onnx, some), names).batches(some, SEEN_IMAGES))
        self._kinds = kinds_of(batches[0], asked)
        if metric is None and data.y is not None:
            warnings.warn(
                f"{data.name}: labels y are not used: {network.name} is no plain classifier, so its divergence from the dense network is"
                f" bounded; --metric FILE.py:FUNCTION makes use of them",
                TenfoldWarning,
                stacklevel=2,
            )

    def judge(self, data: Data, repeats: bool = True) -> Judge | OutputJudge:
        """A judge by these images; `repeats`: whether it matters how far what it finds is known."""
        if self.classifies:
            return Judge(self._network, data)
        return OutputJudge(self._network, data, self._kinds, self._metric, repeats)


def is_classifier(network: Network) -> bool:
    """Whether a network's only output is a vector of scores."""
    if len(network.outputs) != 1:
        return False
    output, batch = network.outputs[0], network.inputs[0].shape[0]
    return output.dtype.startswith("float") and output.shape[:1] == (batch,) and is_vector(output.shape[1:])


def measure_of(judge: Judge | OutputJudge) -> Measure:
    """What a judge's losses are in."""
    if isinstance(judge, OutputJudge):
        return judge.measure
    return AGREEMENT if judge.data.y is None else ACCURACY
