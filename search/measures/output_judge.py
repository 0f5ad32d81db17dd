"""Networks that are no plain classifiers, judged: by how far each output is from the dense network's, and by a metric of the user's.

The loss that a search adds up over layers is a sum over the outputs, in nats. A relative error r counts as r^2 / 0.05 there: 5 % of it are
taken to be as much as 0.05 nats, and small errors of layers add up in squares, as divergences do by themselves.
"""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import sqrt

import numpy as np
import onnx

from ...factorization import FactorChain
from ...frontends import Network
from ...frontends.reference.free_batch import free_batch
from ...frontends.reference.graph_activations import GraphActivations
from ...passes.factorize_onnx import factorize_onnx
from ...runner.data import Data
from ...support.errors import TenfoldError
from ..calibration.evaluation import Verdict
from ..calibration.moments import digest
from .measure import KIND_UNITS, VALUES, Measure
from .metric import Metric
from .output_kinds import agreement, divergence

EQUAL_ERROR = 0.05  # the relative error that counts as much as as many nats
HELD_BYTES = 2**29  # bytes of the dense network's outputs that are held; of more of them they are computed again
METRIC_BYTES = 2**31  # bytes of outputs that a metric can be given
GROUPS = 10  # parts of the images: how far a metric is known is seen from leaving out each of them
SMALLEST = 1e-12  # part of an output's square that counts as none

Outputs = dict[str, np.ndarray]


class OutputJudge:
    """Evaluates factored forms of one network on fixed images, in ONNX Runtime.

    Parameters
    ----------
    network : Network
        Dense.
    data : Data
        For its inputs.
    kinds : dict of str to str
        Of each output.
    metric : Metric, optional
        What is lost is measured in it; otherwise in the divergence of the output that diverges most.
    repeats : bool
        Whether it matters how far a metric is known: this takes as long as ten times the metric.

    Raises
    ------
    TenfoldError
        The network gives NaN, the metric no number, or there are too many outputs for a metric.
    """

    def __init__(self, network: Network, data: Data, kinds: Mapping[str, str], metric: Metric | None = None, repeats: bool = True) -> None:
        self.data, self._kinds, self._metric = data, dict(kinds), metric
        self._groups = min(GROUPS, len(data.x)) if repeats else 0
        self._model = free_batch(network.onnx, data.x)
        names = list(self._kinds)
        self._dense = GraphActivations(self._model, names)
        self._size = self._dense.batch_size(data.x)
        self._held: list[Outputs] | None = []
        self._scales = self._begin()
        self._reached: tuple[float, np.ndarray] | None = None  # what the metric is for the dense network: of all images, and by groups
        if metric is not None:
            whole = self._whole(self._dense_batches())
            self._reached = self._values(whole, "the dense network")

    @property
    def measure(self) -> Measure:
        """What losses are in."""
        if self._metric is None or self._reached is None:
            named = " or ".join(KIND_UNITS[kind] for kind in dict.fromkeys(self._kinds.values()))
            return Measure("divergence from the dense network", named, False, 0.01, self._kinds)
        return Measure(self._metric.name, f"of {self._metric.name}", True, (abs(self._reached[0]) or 1.0) / 100, self._kinds)

    @property
    def digest(self) -> str:
        """What tells apart what verdicts depend on: images, labels, kinds and the metric."""
        if self._metric is None:
            return f"{digest(self.data.x)[:12]} {json.dumps(self._kinds)}"
        labels = {name: digest(array)[:12] for name, array in self.data.labels.items()}
        return f"{digest(self.data.x)[:12]} {json.dumps([self._kinds, self._groups, self._metric.name, self._metric.digest, labels])}"

    def judge(self, chains: Mapping[str, FactorChain]) -> Verdict:
        """The verdict on the network with chains in the places of layers."""
        return self._verdict(self._batches(chains))

    def judge_model(self, model: onnx.ModelProto) -> Verdict:
        """The verdict on another network of the same inputs and outputs, such as a quantized one."""
        other = GraphActivations(free_batch(model, self.data.x), list(self._kinds))
        return self._verdict(map(self._checked, other.batches(self.data.x, self._size)))

    def _verdict(self, batches: Iterator[Outputs]) -> Verdict:
        kept: list[Outputs] = []
        errors: dict[str, list[np.ndarray]] = {name: [] for name in self._kinds}
        same: list[np.ndarray] = []
        for ours, dense in zip(batches, self._dense_batches(), strict=True):
            for name, kind in self._kinds.items():
                errors[name].append(divergence(kind, ours[name], dense[name]))
                if kind != VALUES:
                    same.append(agreement(kind, ours[name], dense[name]))
            if self._metric is not None:
                kept.append(ours)
        by_image = {name: np.concatenate(parts) for name, parts in errors.items()}
        agreed = float(np.concatenate(same).mean()) if same else None
        verdict = self._diverged(by_image, agreed)
        return verdict if self._metric is None else self._measured(verdict, kept)

    def _diverged(self, by_image: Mapping[str, np.ndarray], agreed: float | None) -> Verdict:
        """By divergences alone: the drop is that of the worst output."""
        count = len(self.data.x)
        outputs, uncertainties, losses = {}, {}, np.zeros(count)
        for name, kind in self._kinds.items():
            each = by_image[name]
            if kind == VALUES:
                each = each / self._scales[name]
                found = sqrt(float(each.mean()))
                losses += each / EQUAL_ERROR
                uncertainties[name] = float(each.std()) / sqrt(count) / (2 * found) if found else 0.0
            else:
                found = float(each.mean())
                losses += each
                uncertainties[name] = float(each.std()) / sqrt(count)
            outputs[name] = found
        worst = max(outputs, key=outputs.__getitem__)
        return Verdict(
            accuracy=None,
            agreement=agreed,
            kl=float(losses.mean()),
            drop=outputs[worst],
            uncertainty=uncertainties[worst],
            kl_uncertainty=float(losses.std()) / sqrt(count),
            outputs=outputs,
        )

    def _measured(self, diverged: Verdict, batches: list[Outputs]) -> Verdict:
        """By the metric."""
        assert self._reached is not None
        value, parts = self._values(self._whole(iter(batches)), "a factored network")
        dense, dense_parts = self._reached
        losses, count = dense_parts - parts, len(self.data.x)
        spread = sqrt(float(np.square(losses - losses.mean()).sum()) * (len(losses) - 1) / len(losses)) if len(losses) > 1 else 0.0
        least = (abs(dense) or 1.0) / count  # as if one image differed
        return Verdict(
            accuracy=value,
            agreement=diverged.agreement,
            kl=diverged.kl,
            drop=dense - value,
            uncertainty=max(spread, least),
            kl_uncertainty=diverged.kl_uncertainty,
            outputs=diverged.outputs,
        )

    def _values(self, outputs: Outputs, network: str) -> tuple[float, np.ndarray]:
        """The metric of all images, and of all but each of some groups (a jackknife)."""
        assert self._metric is not None
        count, labels = len(self.data.x), self.data.labels
        value = self._metric(outputs, labels, f"the {count} images with {network}")
        parts = []
        for group in range(self._groups if self._groups > 1 else 0):
            left = np.arange(count) % self._groups != group
            seen, known = ({name: array[left] for name, array in arrays.items()} for arrays in (outputs, labels))
            parts.append(self._metric(seen, known, f"{left.sum()} of the {count} images with {network}"))
        return value, np.array(parts)

    def _whole(self, batches: Iterator[Outputs]) -> Outputs:
        """The outputs of all images."""
        parts = list(batches)
        return {name: np.concatenate([part[name] for part in parts]) for name in self._kinds}

    def _begin(self) -> dict[str, float]:
        """One pass of the dense network: what squared errors of its outputs are relative to, and the outputs themselves if they are few."""
        sums: dict[str, np.ndarray] = {}
        squares, count, size = dict.fromkeys(self._kinds, 0.0), len(self.data.x), 0
        for outputs in self._dense.batches(self.data.x, self._size):
            size += sum(array.nbytes for array in outputs.values())
            if self._held is not None:
                self._held.append(self._checked(outputs))
            if size > HELD_BYTES:
                self._held = None
            for name in (name for name, kind in self._kinds.items() if kind == VALUES):
                array = outputs[name].astype(np.float64)
                sums[name] = sums.get(name, 0.0) + array.sum(axis=0)
                squares[name] += float(np.square(array).sum())
        if self._metric is not None and size > METRIC_BYTES:
            facts = f"the outputs of {count} images take {size / 1e9:.1f} GB, a metric gets at most {METRIC_BYTES / 1e9:.1f}"
            raise TenfoldError(f"--metric {self._metric}: {facts}: give fewer images, or end the network earlier with --outputs")
        scales = {}
        for name, total in sums.items():
            spread = (squares[name] - float(np.square(total).sum()) / count) / count
            # An output that does not depend on the image is held against its own size.
            scales[name] = spread if spread > SMALLEST * squares[name] / count else squares[name] / count or 1.0
        return scales

    def _dense_batches(self) -> Iterator[Outputs]:
        return iter(self._held) if self._held is not None else map(self._checked, self._dense.batches(self.data.x, self._size))

    def _batches(self, chains: Mapping[str, FactorChain]) -> Iterator[Outputs]:
        if not chains:
            return self._dense_batches()
        factored = GraphActivations(factorize_onnx(self._model, dict(chains)), list(self._kinds))
        return map(self._checked, factored.batches(self.data.x, self._size))

    def _checked(self, outputs: Outputs) -> Outputs:
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise TenfoldError(f"the network gives NaN or infinity on the data (output {name!r})")
        return outputs
