"""What a search knows of one network: its layers' candidates with what they cost, and whatever is asked of a choice among them.

    calibrate       statistics of the layers' inputs from one part of the data
    survey          time, error and loss of the candidates of every layer
    choose          exactly, by what was predicted (`find`)
    verify          accuracy on the other part of the data, milliseconds of the compiled network; tighten, choose again (`find`)
"""
from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..factorization import Plan
from ..factorization.plan_json import INT8
from ..runner.build import read_plan
from ..runner.data import Data
from ..support.code_version import code_version
from ..support.phases import phase
from ..support.progress import Progress, reporter
from ..targets.target import FLOAT32
from .accuracy_model import Estimate, Trend
from .calibration.evaluation import Verdict, first, is_verdict, split, verdict_of
from .calibration.network_rewriter import NetworkRewriter
from .candidates import fields, only
from .choices import Choices
from .knapsack import Indices
from .measures.choose import Judging, measure_of
from .precision.byte_losses import ByteLosses
from .precision.forms import ByteSurvey, byte_survey
from .sensitivity import KEY, Sensitivity, is_sound
from .settings import Settings
from .store import LATENCIES, SEARCHES, Store, cache_folder
from .survey import LayerSurvey, survey
from .timing.latency_table import LatencyTable
from .timing.network_timing import Timing

if TYPE_CHECKING:
    import onnx

    from ..factorization import FactorChain
    from ..frontends import Network
    from ..targets import Target
    from .measures.metric import Metric
    from .timing.timer import Timer

CANDIDATE_IMAGES = 512  # calibration images that single candidates are evaluated on
PLAN_KEY = ("plan", "held_out", "code")
CODE = ("factorization", "quantization", "search", "passes", "codegen", "runner/quantize")
CHAINS_CACHED = 3  # plans whose chains are kept


class Search:
    """One network with its survey: choices can be asked of it.

    Parameters
    ----------
    network : Network
        Dense.
    data : Data
        One part calibrates, the other verifies.
    target : Target
        Its `cores` are the threads.
    timer : Timer
        Times modules that are compiled for the target.
    settings : Settings
    progress : callable, optional
    metric : Metric, optional
        That of the settings.

    Attributes
    ----------
    measure : Measure
        What budgets of loss are in.

    Raises
    ------
    TenfoldError
        The data does not fit the network, a metric fails, no layer can be factored.
    """

    def __init__(
        self, network: Network, data: Data, target: Target, timer: Timer, settings: Settings, progress: Progress | None = None,
        metric: Metric | None = None,
    ) -> None:
        self.network, self.target, self.settings, self.say = network, target, settings, reporter(progress)
        self._begin = time.perf_counter()
        self._judging = Judging(network, data, metric, settings.output_kinds)
        calibrating, held_out = split(data)
        with phase("running the dense network"):
            self.judge = self._judging.judge(held_out)
        self.measure = measure_of(self.judge)
        with phase("collecting statistics"):
            self.rewriter = NetworkRewriter.of(network, calibrating, progress=self.say)
        self.calibration = self.rewriter.calibrated
        self.correction = settings.correction or (self.rewriter.correction() if self._judging.classifies else "response")
        self.table = LatencyTable(target, timer, cache_folder(settings.cache) / LATENCIES)
        self.surveys, self.on_bytes = self._survey(first(calibrating, CANDIDATE_IMAGES))
        choices = Choices(self.surveys, self.on_bytes)
        self.timing = Timing(network, choices, self.table, timer, self, self.say, self.rewriter.pruning)
        self.costs = self.timing.costs
        self._plans = Store(self._cache("plans"), PLAN_KEY, is_sound=lambda record: is_verdict(record.get("verdict")))
        self._context = {"held_out": self.judge.digest, "code": code_version(*CODE)}
        self._verdicts: dict[Indices, Verdict] = {}
        self._chains: dict[Indices, dict[str, FactorChain]] = {}

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self._begin

    @property
    def labelled(self) -> bool:
        """Whether accuracy is known, and not agreement or divergence alone."""
        return self.measure.truth

    @property
    def dense(self) -> Indices:
        """The choice that factors nothing."""
        return (0,) * len(self.surveys)

    def plan(self, indices: Indices) -> Plan:
        """The plan of a choice."""
        return Plan(
            model=self.network.sha256,
            target=self.target.name,
            layers=self.costs.choices.factored(indices),
            refused=self.costs.reasons(indices),
            data=self.calibration.sha256,
            correction=self.correction,
            precision=self.costs.choices.precision(indices),
        )

    def chains(self, indices: Indices) -> dict[str, FactorChain]:
        """Of a choice, corrected."""
        if indices not in self._chains:
            self._chains[indices] = self.rewriter.chains(self.plan(indices), self.say)
            if len(self._chains) > CHAINS_CACHED:
                self._chains.pop(next(iter(self._chains)))
        return self._chains[indices]

    def verdict(self, indices: Indices) -> Verdict:
        """Of a choice on the held-out images; kept on disk."""
        if indices not in self._verdicts:
            key = {"plan": self._text(indices), **self._context}
            record = self._plans.get(key)
            if record is None:
                chains = self.chains(indices)
                mixed = self.emitted(indices) if self.costs.choices.byte_forms(indices) else None
                self.say(f"verifying plan {len(self._verdicts) + 1} on {len(self.judge.data.x)} images")
                with phase("verifying plans"):
                    verdict = self.judge.judge(chains) if mixed is None else self.judge.judge_model(mixed)
                record = {**key, "verdict": verdict.to_dict()}
                self._plans.put(record)
            self._verdicts[indices] = verdict_of(record["verdict"])
        return self._verdicts[indices]

    @property
    def verified(self) -> dict[Indices, Verdict]:
        """The choices that were verified, but for the dense network."""
        return {indices: verdict for indices, verdict in self._verdicts.items() if any(indices)}

    def emitted(self, indices: Indices) -> onnx.ModelProto:
        """The graph of a choice."""
        return self.rewriter.emitted(self.plan(indices), self.chains(indices), self.say)

    def bytes(self, indices: Indices) -> int:
        """Of the ONNX file of a choice."""
        return self.emitted(indices).ByteSize()

    @property
    def evaluated(self) -> list[Verdict]:
        """The verdicts on single candidates of layers."""
        found = [option.verdict for survey in self.surveys for option in survey.open if option.verdict is not None]
        return [*found, *(() if self.on_bytes is None else self.on_bytes.verdicts)]

    def measured(self, indices: Indices, wanted: Iterable[str]) -> dict[str, float]:
        """The compiled network's ``ms`` and the file's ``bytes``, of those that are wanted."""
        return {name: self.bytes(indices) if name == "bytes" else self.timing.ms(indices) for name in wanted}

    def tune(self, choices: Sequence[Indices]) -> None:
        """Tune the kernels of the dense network and of some choices, if that is asked for. What was timed of them is forgotten."""
        if self.settings.tune:
            self.timing.tune([self.dense, *choices])

    def trend(self) -> Trend | None:
        """What plans lose for each nat of divergence, from all that were verified; None without labels, and from few plans."""
        return Trend.fit(self.verified.values(), self.measure.step) if self.labelled else None

    def expected(self, indices: Indices) -> Estimate | None:
        """What a verified choice loses, by the trend; None where there is none, or the choice's own errors say more."""
        verdict = self.verdict(indices)
        trend = self.trend()
        if trend is None or (estimate := trend(verdict)).uncertainty > verdict.uncertainty:
            return None
        return estimate

    def _cache(self, kind: str) -> Path:
        """The file of what is known of this network and data."""
        model, data = self.network.key[:12], self.calibration.sha256[:12]
        return cache_folder(self.settings.cache) / SEARCHES / f"{model}-{data}-{kind}.jsonl"

    def _text(self, indices: Indices) -> str:
        """What a choice comes to: all that its verdict depends on, data and code aside."""
        layers = {name: [c.method, list(c.ranks), c.metric] for name, c in self.costs.choices.factored(indices).items()}
        precision = self.costs.choices.precision(indices)
        return json.dumps({"correction": self.correction, **layers, **({"precision": precision} if precision else {})}, sort_keys=True)

    def _survey(self, images: Data) -> tuple[list[LayerSurvey], ByteSurvey | None]:
        from ..passes.epilogues import epilogues

        rewriter = self.rewriter
        judge, store = self._judging.judge(images, repeats=False), Store(self._cache("layers"), KEY, is_sound=is_sound)
        sensitivity = Sensitivity(rewriter, judge, store)
        informed, lanes = self.calibration.statistics, self.target.lanes
        candidates = fields(rewriter.layers, lanes, informed, self.settings.tried(), rewriter.weights, rewriter.pruning.readers)
        forms = read_plan(self.settings.forms)
        if forms is not None:
            forms.check(rewriter.layers, self.network.sha256)
            candidates = only(candidates, forms.layers)
        steps = epilogues(self.network.mod)
        surveys = survey(candidates, self.table, sensitivity, steps, self.say)
        if self.settings.precision == FLOAT32:
            return surveys, None
        losses = ByteLosses(rewriter, sensitivity, self._cache("precision"))
        required = self.settings.precision == INT8
        return surveys, byte_survey(self.network, surveys, self.table, losses, steps, self.target, required, self.say)
