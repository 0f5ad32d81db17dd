"""For each layer the forms that could be computed on bytes: what they take, what they lose, or why they are out of the question.

Looked at are the layer as it is, and those of its factored forms that were tried on real images. Filters that are left out change layers
behind too: such a form stays in float32.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import TYPE_CHECKING, Any

from ...passes.byte_layer_module import CROSSING, byte_layer_module
from ...passes.pipeline import lower
from ...passes.quantize.graph import Graph
from ...passes.quantize.layers import find_layers
from ...passes.quantize.prepare import prepare
from ...schedules.backend import backend_of
from ...support.errors import TenfoldError
from ...support.phases import phase
from ...support.progress import Progress, reporter
from ..calibration.evaluation import Verdict
from ..survey import LayerSurvey, Option, Steps
from ..timing.latency_table import TimedCrossing, TimedLayer
from .crossings import Crossings, find_crossings

if TYPE_CHECKING:
    from ...frontends import Network
    from ...targets import Target
    from ..timing.latency_table import LatencyTable
    from .byte_losses import ByteLosses

NO_LAYER = "it is no convolution and no product with a constant matrix"
ON_BYTES = "int8"


@dataclass(frozen=True)
class ByteForm:
    """A layer on bytes.

    Attributes
    ----------
    option : Option or None
        Its factored form; None: as it is.
    ms : float
        Of the layer by itself, from bytes to bytes.
    verdict : Verdict or None
        With this layer alone on bytes.
    refused : str or None
        Why it is out of the question.
    """

    option: Option | None
    ms: float = inf
    verdict: Verdict | None = None
    refused: str | None = None

    @property
    def loss(self) -> float:
        """In nats, what factoring loses included; infinite where it is not known."""
        return inf if self.verdict is None else self.verdict.kl

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        choice = None if self.option is None else self.option.candidate.choice
        form = {"method": choice.method if choice else None, "ranks": list(choice.ranks) if choice else []}
        found = {"ms": self.ms if self.ms < inf else None, "loss": self.verdict and self.verdict.kl, "refused": self.refused}
        return {**form, **found, "evaluated": None if self.verdict is None else self.verdict.to_dict()}


@dataclass(frozen=True)
class ByteSurvey:
    """What is known of layers on bytes.

    Attributes
    ----------
    forms : dict of str to tuple of ByteForm
        By layer, the layer as it is first.
    crossings : Crossings
    to_bytes, to_float : float
        Milliseconds to convert one number.
    required : bool
        Whether every layer that can be on bytes has to be.
    """

    forms: dict[str, tuple[ByteForm, ...]]
    crossings: Crossings
    to_bytes: float
    to_float: float
    required: bool

    def open(self, layer: str) -> list[ByteForm]:
        """The forms of a layer that can be chosen."""
        return [form for form in self.forms[layer] if form.refused is None]

    def entry_ms(self, layer: str) -> float:
        """To convert what a layer on bytes reads that no layer made."""
        return self.to_bytes * self.crossings.entries.get(layer, 0)

    @property
    def verdicts(self) -> list[Verdict]:
        """Of all forms that were evaluated."""
        return [form.verdict for forms in self.forms.values() for form in forms if form.verdict is not None]


def check_target(target: Target, precision: str) -> None:
    """TenfoldError where a target has no kernels of bytes."""
    if not backend_of(target).on_bytes:
        raise TenfoldError(f"--precision {precision}: target {target.name} has no kernels of bytes: leave it out, for float32")


def byte_survey(
    network: Network, surveys: Sequence[LayerSurvey], table: LatencyTable, losses: ByteLosses, steps: Steps, target: Target,
    required: bool, progress: Progress,
) -> ByteSurvey:
    """Time layers on bytes, and what converting takes, and evaluate them.

    Parameters
    ----------
    network : Network
    surveys : sequence of LayerSurvey
        In float32.
    table : LatencyTable
    losses : ByteLosses
    steps : dict
        What follows each layer element by element (`epilogues`).
    target : Target
        With kernels of bytes.
    required : bool
        As of `ByteSurvey`.
    progress : callable

    Raises
    ------
    TenfoldError
        No layer can be on bytes.
    """
    say = reporter(progress)
    quantizable, reasons = find_layers(Graph(prepare(network.onnx)))
    found: dict[str, list[ByteForm]] = {}
    for survey in surveys:
        layer = survey.layer
        reason = reasons.get(layer.name) or (None if layer.name in quantizable and layer.kind in ("conv2d", "dense") else NO_LAYER)
        options = [None, *(o for o in survey.open if o.verdict is not None and not o.candidate.prunes)] if reason is None else [None]
        forms = [ByteForm(option, refused=reason) for option in options]
        found[layer.name] = [form if form.refused else _kernels(form, layer.name, survey, steps, target) for form in forms]
    _time(found, surveys, table, steps, say)
    with phase("timing candidates"):
        converting = table.ms([TimedCrossing(True), TimedCrossing(False)], say)
    for number, (name, forms) in enumerate(found.items()):
        for position, form in enumerate(forms):
            if form.refused is None:
                say(f"evaluating candidates ({name} in {ON_BYTES})", number, len(found))
                with phase("evaluating candidates"):
                    verdict = losses.verdict(name, None if form.option is None else form.option.candidate, say)
                forms[position] = replace(form, verdict=verdict)
    if all(form.refused is not None for forms in found.values() for form in forms):
        name, (first, *_) = next(iter(found.items()))
        raise TenfoldError(f"{network.name}: no layer can be computed on bytes: {name}: {first.refused}")
    to_bytes, to_float = (ms / prod(CROSSING) for ms in converting)
    forms_of = {name: tuple(forms) for name, forms in found.items()}
    return ByteSurvey(forms_of, find_crossings(network.onnx, set(found)), to_bytes, to_float, required)


def _kernels(form: ByteForm, name: str, survey: LayerSurvey, steps: Steps, target: Target) -> ByteForm:
    """The form, refused where the target's kernels of bytes do not compute all of it."""
    backend = backend_of(target)
    timed = _timed(form, survey, steps)
    lower(byte_layer_module(timed.layer, timed.chain, timed.steps), backend, until="quantized")
    reasons = [why for why in backend.computed_in.values() if why != ON_BYTES]
    return replace(form, refused=reasons[0]) if reasons else form


def _time(found: dict[str, list[ByteForm]], surveys: Sequence[LayerSurvey], table: LatencyTable, steps: Steps, say: Progress) -> None:
    """Time the forms that are not refused; refuse factored ones that are no faster than the whole layer on bytes, which loses less."""
    waiting = [(survey, position) for survey in surveys for position, form in enumerate(found[survey.layer.name]) if not form.refused]
    layers = [_timed(found[survey.layer.name][position], survey, steps) for survey, position in waiting]
    with phase("timing candidates"):
        times = table.ms(layers, say)
    for (survey, position), timed, ms in zip(waiting, layers, times, strict=True):
        forms = found[survey.layer.name]
        failure, whole = table.failure(timed), forms[0].ms
        refused = f"does not compile: {failure}" if failure is not None else None
        if refused is None and forms[position].option is not None and ms >= whole:
            refused = f"not faster: {ms:.4f} ms, the whole layer on bytes {whole:.4f} ms"
        forms[position] = replace(forms[position], ms=ms, refused=refused)


def _timed(form: ByteForm, survey: LayerSurvey, steps: Steps) -> TimedLayer:
    chain = None if form.option is None else form.option.candidate.outline()
    return TimedLayer(survey.layer, chain, steps.get(survey.layer.name, ()), on_bytes=True)
