"""What compressing a network came to: the plan, the network before and after in figures, and what became of each layer."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..factorization.methods.prune import NAME as PRUNE
from ..runner.network_facts import count_params, total_macs
from ..targets.target import FLOAT32
from .layer_spectra import layer_spectra

if TYPE_CHECKING:
    import onnx

    from ..factorization import FactorChain, Layer, Plan
    from ..frontends import Network
    from .accuracy_model import Estimate
    from .budget import Budget
    from .calibration.evaluation import Verdict
    from .calibration.network_rewriter import NetworkRewriter
    from .finetuning.tuned import Tuned
    from .layer_spectra import Spectra
    from .measures.measure import Measure
    from .precision.forms import ByteSurvey
    from .survey import LayerSurvey


@dataclass(frozen=True)
class Figures:
    """Of one network.

    Attributes
    ----------
    macs : int
        Multiply-accumulates of one run.
    params : int
        All floating-point constants of the network.
    bytes : int
        Of the ONNX file.
    ms : float or None
        Milliseconds of one run on the target; None where nothing was timed.
    accuracy : float or None
        Fraction of the held-out images that it gets right; without labels, on which it agrees with the dense network; with a metric of
        the user's, what this gives. None where nothing was evaluated, or divergences alone.
    """

    macs: int
    params: int
    bytes: int
    ms: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class LayerChange:
    """What was done with one layer.

    Attributes
    ----------
    name : str
    method : str or None
        None: it stays dense, for `reason`.
    ranks : tuple of int
    error : float or None
        Of the weight: ``||W - chain|| / ||W||`` in the Frobenius norm.
    macs, macs_before, params, params_before : int
        Of one run; weights without biases.
    reason : str or None
    response_error : float or None
        Relative, of the layer's responses to the calibration images, as the search found it.
    ms, ms_before : float or None
        Milliseconds of the layer by itself with its activation, as the search found them.
    spectra : dict or None
        Singular values of its weight (`layer_spectra`).
    precision : str
        ``float32`` or ``int8``: of what it is computed in, whole or factored.
    precision_reason : str or None
        Why it is not on bytes, where a search could choose that.
    """

    name: str
    method: str | None
    ranks: tuple[int, ...]
    error: float | None
    macs: int
    macs_before: int
    params: int
    params_before: int
    reason: str | None
    response_error: float | None = None
    ms: float | None = None
    ms_before: float | None = None
    spectra: Spectra | None = None
    precision: str = FLOAT32
    precision_reason: str | None = None


@dataclass(frozen=True)
class SearchReport:
    """What a search says of its choice.

    Attributes
    ----------
    budget : Budget
    predicted_ms : float
        Of the network with the plan, from its layers' times and those of two other networks, which were timed in turns with it.
    verdict : Verdict
        On the held-out images.
    expected : Estimate or None
        What it loses by the trend of all plans, where that says more than its own errors.
    images : dict of str to int
        In each part of the data, by its use.
    tried : int
        Plans that were verified on the held-out images.
    seconds : float
        That the search took.
    phases : dict of str to float
        Where they went: seconds by phase.
    labels : bool
        Whether labels say what is lost: otherwise it is told from the dense network's own answers.
    measure : Measure
        What is lost, and its units.
    surveys : tuple of LayerSurvey
        Everything that was looked at, layer by layer.
    modelled : str, optional
        By what model the milliseconds were made, where none were measured.
    on_bytes : ByteSurvey, optional
        Likewise, of layers on bytes; None where all were to stay in float32.
    """

    budget: Budget
    predicted_ms: float
    verdict: Verdict
    expected: Estimate | None
    images: dict[str, int]
    tried: int
    seconds: float
    labels: bool
    measure: Measure
    phases: Mapping[str, float]
    surveys: tuple[LayerSurvey, ...]
    modelled: str | None = None
    on_bytes: ByteSurvey | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the surveys, which stand with the layers."""
        names = ("predicted_ms", "images", "tried", "seconds", "phases", "labels", *(["modelled"] if self.modelled else []))
        verdict: dict[str, Any] = {**self.verdict.to_dict(), "expected": self.expected and asdict(self.expected)}
        facts = {name: getattr(self, name) for name in names}
        return {"budget": asdict(self.budget), "measure": self.measure.to_dict(), **facts, "verdict": verdict}


@dataclass(frozen=True)
class Compression:
    """What `compress` did.

    Attributes
    ----------
    plan : Plan
    layers : tuple of LayerChange
        All convolutions and dense layers of the network, in order.
    before, after : Figures
        The dense network, and the one with the plan. The times of a search were taken in turns, and are told, as bounds are, in the time of
        the dense network's first measurement.
    output_error : float
        Largest difference of the outputs from those of the dense network, over the largest output, on standard normal inputs. It says
        little of the accuracy: measure that on real data (``tenfold bench --data``).
    reading : dict
        How the dense network, as it was read, was compared with the file before anything was made of it: `Verified.to_dict`.
    files : tuple of str
        Names of the files that were written.
    search : SearchReport or None
        Of a budget; None for a recipe or a plan.
    finetuning : Tuned or None
        What fine-tuning made of the network with the plan: then ``model.onnx`` has the weights that were tuned, and what `search` says of
        accuracy is from before.
    """

    plan: Plan
    layers: tuple[LayerChange, ...]
    before: Figures
    after: Figures
    output_error: float
    reading: dict[str, Any]
    files: tuple[str, ...]
    search: SearchReport | None = None
    finetuning: Tuned | None = None

    @property
    def refused(self) -> dict[str, str]:
        """Why layers stay dense, by name."""
        return {layer.name: layer.reason for layer in self.layers if layer.reason is not None}

    def to_dict(self) -> dict[str, Any]:
        """The report, without the plan, which is a file of its own."""
        head = {"model": self.plan.model, "target": self.plan.target}
        figures = {"before": asdict(self.before), "after": asdict(self.after), "output_error": self.output_error, "reading": self.reading}
        figures["finetuning"] = None if self.finetuning is None else self.finetuning.to_dict()
        layers = [asdict(layer) for layer in self.layers]
        if self.search is None:
            return {**head, **figures, "search": None, "layers": layers}
        for layer, survey in zip(layers, self.search.surveys, strict=True):
            if self.search.on_bytes is not None:
                layer["on_bytes"] = [form.to_dict() for form in self.search.on_bytes.forms[survey.layer.name]]
            layer |= {"candidates": [option.to_dict() for option in survey.options], "refused": survey.refused}
        return {**head, **figures, "search": self.search.to_dict(), "layers": layers}

    def to_json(self) -> str:
        """`to_dict`, indented."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


def layer_changes(rewriter: NetworkRewriter, plan: Plan, chains: Mapping[str, FactorChain]) -> tuple[LayerChange, ...]:
    """What a plan does with each layer."""
    return tuple(_change(layer, chains.get(layer.name), rewriter, plan) for layer in rewriter.layers)


def figures_before(rewriter: NetworkRewriter) -> Figures:
    """Of the dense network, as far as they are counted."""
    model = rewriter.network.onnx
    return Figures(total_macs(rewriter.layers), count_params(model), model.ByteSize())


def figures_after(network: Network, changes: tuple[LayerChange, ...], model: onnx.ModelProto, size: int) -> Figures:
    """Of the factored network, as far as they are counted.

    Parameters
    ----------
    network : Network
        Dense.
    changes : tuple of LayerChange
    model : onnx.ModelProto
        Factored.
    size : int
        Bytes of its file.
    """
    macs = sum(change.macs for change in changes)
    if any(change.method == PRUNE for change in changes):  # layers behind have less to do too
        from ..passes.inventory import inventory

        macs = total_macs(inventory(replace(network, onnx=model).mod))
    return Figures(macs, count_params(model), size)


def _change(layer: Layer, chain: FactorChain | None, rewriter: NetworkRewriter, plan: Plan) -> LayerChange:
    weight, choice = rewriter.weights.get(layer.name), plan.layers.get(layer.name)
    spectra = None if weight is None else layer_spectra(layer, weight, choice)
    precision = plan.precision.get(layer.name, FLOAT32)
    if chain is None or choice is None:
        reason = layer.reason or plan.refused.get(layer.name, "not in the plan")
        costs = layer.macs, layer.macs, layer.params, layer.params
        return LayerChange(layer.name, None, (), None, *costs, reason, spectra=spectra, precision=precision)
    assert weight is not None  # of what has a chain
    share = choice.ranks[0] / layer.out_channels if choice.method == PRUNE else 1.0  # of the chain: the rest is zeros, which go
    return LayerChange(
        name=layer.name,
        method=choice.method,
        ranks=tuple(choice.ranks),
        error=chain.relative_error(weight),
        macs=round(share * layer.batch * chain.macs(*layer.input_size)),
        macs_before=layer.macs,
        params=round(share * chain.params),
        params_before=layer.params,
        reason=None,
        spectra=spectra,
        precision=precision,
    )
