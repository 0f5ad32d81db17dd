"""How much each candidate hurts: its error in the data metric, and, for a few, what the network loses with that one layer factored.

Both are kept on disk as they come, by model, data and code, so that a search that was interrupted goes on where it was.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..factorization import METHODS, FactorChain
from ..factorization.chain import nearest_part
from ..factorization.solvers.chain_als import chain_als
from ..support.code_version import code_version
from .calibration.evaluation import Judge, Verdict, is_verdict, verdict_of
from .calibration.network_rewriter import NetworkRewriter
from .candidates import Candidate
from .measures.output_judge import OutputJudge
from .store import Store, is_number

KEY = ("what", "layer", "method", "ranks", "metric", "model", "data", "code")
CODE = ("factorization", "search/calibration", "search/measures", "frontends/reference/graph_activations.py", "search/sensitivity.py",
        "passes/simplify", "passes/prune.py")
CHAINS_CACHED = 64  # chains: most are asked for twice in a row


def is_sound(record: Mapping[str, Any]) -> bool:
    """Whether a record says what it is of: an error, or a verdict."""
    if record["what"] == "error":
        return "error" in record and (record["error"] is None or is_number(record["error"], 0))
    return is_verdict(record)


class Sensitivity:
    """Errors and losses of candidates of one network.

    Parameters
    ----------
    rewriter : NetworkRewriter
        Layers without statistics are judged in the Frobenius norm.
    judge : Judge or OutputJudge
        On a part of the calibration images.
    store : Store
        With the fields of `KEY`.
    """

    def __init__(self, rewriter: NetworkRewriter, judge: Judge | OutputJudge, store: Store) -> None:
        self.weights, self.judge, self._pruning = rewriter.weights, judge, rewriter.pruning
        self.statistics = {} if rewriter.calibration is None else rewriter.calibration.statistics
        self._store = store
        self._context = {
            "model": rewriter.network.key,
            "data": rewriter.calibration.sha256 if rewriter.calibration else "",
            "code": code_version(*CODE),
        }
        self._chains: OrderedDict[Candidate, FactorChain] = OrderedDict()

    def error(self, candidate: Candidate) -> float | None:
        """``||W - chain|| / ||W||`` in the data metric: of the layer's responses. None if the factors can't be found."""
        return self._kept("error", candidate, self._error)["error"]

    def verdict(self, candidate: Candidate) -> Verdict:
        """On the network with this one layer factored, and the mean of its response corrected."""
        what = f"verdict on {self.judge.digest}"
        record = self._kept(what, candidate, lambda c: self.judge.judge(self.chains_of(c)).to_dict())
        return verdict_of(record)

    def chain(self, candidate: Candidate) -> FactorChain:
        """Its factors, found quickly; ValueError if there are none.

        A method that does not minimise the metric by itself has only its last stage solved in it: that is most of the gain, in a
        fraction of the time. A plan that is carried out has better factors.
        """
        if candidate not in self._chains:
            layer, choice, weight = candidate.layer, candidate.choice, self.weights[candidate.layer.name]
            method = METHODS[choice.method]
            if choice.metric == "frobenius":
                chain = method.factorize(weight, layer, choice.ranks)
            elif choice.metric in method.metrics:
                chain = method.factorize(weight, layer, choice.ranks, metric=self.statistics[layer.name].metric(choice.metric))
            else:
                start = method.factorize(weight, layer, choice.ranks)
                chain = chain_als(start, weight, self.statistics[layer.name].metric(choice.metric), sweeps=1, steps=0)
            self._chains[candidate] = chain
            if len(self._chains) > CHAINS_CACHED:
                self._chains.popitem(last=False)
        self._chains.move_to_end(candidate)
        return self._chains[candidate]

    def chains_of(self, candidate: Candidate) -> dict[str, FactorChain]:
        """What one candidate changes in the network, the mean of its response corrected."""
        if candidate.prunes:
            return self._pruning.pruned(candidate.layer.name, candidate.choice).chains
        return {candidate.layer.name: self._corrected(candidate)}

    def _error(self, candidate: Candidate) -> dict[str, Any]:
        name = candidate.layer.name
        if candidate.prunes:
            return {"error": self._pruning.pruned(name, candidate.choice).error}
        try:
            chain = self.chain(candidate)
        except ValueError:
            return {"error": None}
        options = {"metric": self.statistics[name].metric("covariance")} if name in self.statistics else {}
        error = chain.relative_error(self.weights[name], **options)
        return {"error": error if np.isfinite(error) else None}

    def _corrected(self, candidate: Candidate) -> FactorChain:
        """The chain with the bias that gives its response to the calibration images the mean that the layer's has."""
        chain, statistics = self.chain(candidate), self.statistics.get(candidate.layer.name)
        if statistics is None:
            return chain
        weight = self.weights[candidate.layer.name]
        dense = weight.reshape(*weight.shape[:2], *candidate.layer.kernel)
        kernel, _ = nearest_part(chain.reconstruct(), dense)  # flattened layers have more taps; those around are zero at the start
        return chain.with_bias((dense - kernel).reshape(len(dense), -1) @ statistics.mean - _own_bias(chain))

    def _kept(self, what: str, candidate: Candidate, compute: Callable[[Candidate], dict[str, Any]]) -> dict[str, Any]:
        choice = candidate.choice
        key: dict[str, Any] = {"what": what, "layer": candidate.layer.name, **self._context}
        key |= {"method": choice.method, "ranks": list(choice.ranks), "metric": choice.metric}
        record = self._store.get(key)
        if record is None:
            record = {**key, **compute(candidate)}
            self._store.put(record)
        return record


def _own_bias(chain: FactorChain) -> np.ndarray:
    """What the chain gives for zeros, away from borders."""
    value = np.zeros(chain.stages[0].in_channels)
    for stage in chain.stages:
        if stage.input_permutation is not None:
            value = value[stage.input_permutation]
        groups = value.reshape(stage.groups, 1, -1)
        weight = stage.weight.sum(axis=(2, 3)).reshape(stage.groups, -1, stage.weight.shape[1])
        value = (groups * weight).sum(axis=2).reshape(-1)
        value = value if stage.bias is None else value + stage.bias
    return value if chain.permutation is None else value[chain.permutation]
