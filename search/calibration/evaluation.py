"""How good a factored classifier is on real images: its accuracy where labels are known, and how far it is from the dense network.

Other networks are judged in `search/measures`, which gives verdicts of the same form.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from ...frontends.reference.free_batch import free_batch
from ...frontends.reference.graph_activations import GraphActivations
from ...passes.factorize_onnx import factorize_onnx
from ...runner.data import Data
from ...support.errors import TenfoldError
from ...support.input_set import part_of
from ..store import is_number
from .moments import digest

if TYPE_CHECKING:
    import onnx

    from ...factorization import FactorChain
    from ...frontends import Network

SEED = 0
HELD_OUT_SHARE = 0.5  # of the images: what budgets are verified on
MIN_IMAGES = 8  # images in each part
NUMBERS = ("accuracy", "agreement", "kl", "drop", "uncertainty", "kl_uncertainty")  # fields of a verdict
LOWEST_LOG = -30.0  # log of a probability: what float32 can't tell from zero


@dataclass(frozen=True)
class Verdict:
    """Of one network on some images.

    Attributes
    ----------
    accuracy : float or None
        Fraction of the images whose largest score is the label, or what a metric of the user's gives; None without labels.
    agreement : float or None
        Fraction whose largest score is that of the dense network; None where no output holds classes.
    kl : float
        Mean Kullback-Leibler divergence of the dense network's probabilities from this one's, in nats; of other networks than classifiers
        the sum over the outputs (`measures.output_judge`).
    drop : float
        Points of accuracy lost against the dense network; without labels, points of agreement, which no loss of accuracy can exceed. Of
        other networks in the units of the search's `Measure`.
    uncertainty : float
        Standard error of `drop` as an estimate for further images of the same kind.
    kl_uncertainty : float
        Standard error of `kl`, likewise.
    outputs : dict of str to float, optional
        The divergence of each output, where a network is no plain classifier.
    """

    accuracy: float | None
    agreement: float | None
    kl: float
    drop: float
    uncertainty: float
    kl_uncertainty: float
    outputs: Mapping[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def is_verdict(fields: Any) -> bool:
    """Whether these are the fields of a verdict, as a record keeps them."""
    if not isinstance(fields, Mapping) or not set(NUMBERS) <= set(fields):
        return False
    outputs = fields.get("outputs")
    if outputs is not None and not (isinstance(outputs, Mapping) and all(map(is_number, outputs.values()))):
        return False
    return all(is_number(fields[name]) or (name in ("accuracy", "agreement") and fields[name] is None) for name in NUMBERS)


def verdict_of(fields: Mapping[str, Any]) -> Verdict:
    """From fields that `is_verdict`."""
    return Verdict(**{name: fields[name] for name in NUMBERS}, outputs=fields.get("outputs"))


class Judge:
    """Evaluates factored forms of one network on fixed images, in ONNX Runtime.

    Parameters
    ----------
    network : Network
        Dense; a classifier.
    data : Data
        Images, and labels where known.

    Raises
    ------
    TenfoldError
        The network is no classifier, or the data does not fit it.
    """

    def __init__(self, network: Network, data: Data) -> None:
        check(network, data)
        self.data = data
        self._model = free_batch(network.onnx, data.x)
        self._output = network.onnx.graph.output[0].name

    @cached_property
    def digest(self) -> str:
        """What tells apart the data that verdicts depend on: images, and labels if there are any."""
        return data_digest(self.data)

    def judge(self, chains: Mapping[str, FactorChain]) -> Verdict:
        """The verdict on the network with chains in the places of layers."""
        return self.verdict(self._scores(dict(chains)) if chains else self.dense)

    def judge_model(self, model: onnx.ModelProto) -> Verdict:
        """The verdict on another network of the same inputs and outputs, such as a factored one that was trained on."""
        return self.verdict(self._scores_of(free_batch(model, self.data.x)))

    def verdict(self, scores: np.ndarray) -> Verdict:
        """On scores, (images, classes)."""
        ours, dense, labels = scores.argmax(axis=1), self.dense.argmax(axis=1), self.data.y
        ours_log, dense_log = log_probabilities(scores), log_probabilities(self.dense)
        divergence = (np.exp(dense_log) * (dense_log - ours_log)).sum(axis=1)
        truth = dense if labels is None else labels
        lost, won = int(((dense == truth) & (ours != truth)).sum()), int(((dense != truth) & (ours == truth)).sum())
        count = len(scores)
        # Of paired answers, as in McNemar's test; where none differs, as if one did.
        uncertainty = sqrt(max(lost + won - (lost - won) ** 2 / count, 1.0)) / count
        accuracy = None if labels is None else float((ours == labels).mean())
        agreement, kl = float((ours == dense).mean()), max(float(divergence.mean()), 0.0)
        return Verdict(accuracy, agreement, kl, 100 * (lost - won) / count, 100 * uncertainty, float(divergence.std()) / sqrt(count))

    @cached_property
    def dense(self) -> np.ndarray:
        """The scores of the dense network."""
        return self._scores({})

    def _scores(self, chains: dict[str, FactorChain]) -> np.ndarray:
        return self._scores_of(factorize_onnx(self._model, chains) if chains else self._model)

    def _scores_of(self, model: onnx.ModelProto) -> np.ndarray:
        scores = np.concatenate([values[self._output] for values in GraphActivations(model, [self._output]).batches(self.data.x)])
        if not np.isfinite(scores).all():
            raise TenfoldError("the network gives NaN or infinity on the data")
        return scores.reshape(len(scores), -1)


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    """Of rows of logits, or of probabilities: rows that are not negative and sum up to 1."""
    scores = scores.astype(np.float64)
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return np.maximum(np.log(np.maximum(scores, 1e-300)), LOWEST_LOG)
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.maximum(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), LOWEST_LOG)


def data_digest(data: Data) -> str:
    """What tells apart images, and labels if there are any."""
    labels = "agreement" if data.y is None else digest(data.y)[:12]
    return f"{digest(data.x)[:12]} {labels}"


def check(network: Network, data: Data) -> None:
    """Raise TenfoldError unless `data` can be told right from wrong by `network`, a classifier."""
    if len(network.outputs) != 1:
        raise TenfoldError(f"{network.name}: accuracy is that of a classifier of one output, this network has {len(network.outputs)}")
    data.check_all(network.inputs, network.name)
    batch, shape = network.inputs[0].shape[0], network.outputs[0].shape
    classes = int(np.prod(shape)) // batch
    if shape[0] != batch or classes < 2:
        raise TenfoldError(f"{network.name}: accuracy is that of a classifier, the output {network.outputs[0].name!r} is {list(shape)}")
    if data.y is None:
        return
    if data.y.ndim != 1:
        facts = f"it has shape {list(data.y.shape)}; labels of other forms are for a --metric"
        raise TenfoldError(f"{data.name}: y must hold one label for each image: {facts}")
    if data.y.dtype.kind not in "iu":
        raise TenfoldError(f"{data.name}: y has dtype {data.y.dtype}: labels are whole numbers")
    if len(data.y) and not 0 <= data.y.min() <= data.y.max() < classes:
        raise TenfoldError(f"{data.name}: y goes from {data.y.min()} to {data.y.max()}: the network has classes 0 to {classes - 1}")


def split(data: Data) -> tuple[Data, Data]:
    """Two parts of the images, one to calibrate with, one held out; both in the order of the file.

    Which are held out, the data says, or a draw with a fixed seed.

    Raises
    ------
    TenfoldError
        There are too few images.
    """
    count = len(data.x)
    if count < 2 * MIN_IMAGES:
        raise TenfoldError(f"{data.name}: x has {count} images: at least {2 * MIN_IMAGES} are needed, half of them to verify with")
    held_out = data.held_out
    if held_out is None:
        held_out = np.zeros(count, bool)
        held_out[np.random.default_rng(SEED).permutation(count)[: round(HELD_OUT_SHARE * count)]] = True
    elif not MIN_IMAGES <= held_out.sum() <= count - MIN_IMAGES:
        facts = f"{held_out.sum()} of {count} images are held_out"
        raise TenfoldError(f"{data.name}: {facts}: at least {MIN_IMAGES} are needed to verify with, and as many to calibrate with")
    return _part(data, ~held_out), _part(data, held_out)


def first(data: Data, count: int) -> Data:
    """The first `count` images, or all there are."""
    return _part(data, slice(count))


def _part(data: Data, which: np.ndarray | slice) -> Data:
    more = {name: array[which] for name, array in data.more.items() if array.ndim and len(array) == len(data.x)}
    return Data(part_of(data.x, which), None if data.y is None else data.y[which], data.name, more=more)
