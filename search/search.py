"""The search: from a trained network, data and a budget to the plan that is fastest, or most accurate, within it.

    calibrate       statistics of the layers' inputs from one part of the data
    survey          time, error and loss of the candidates of every layer
    choose          exactly, by what was predicted
    verify          accuracy on the other part of the data, milliseconds of the compiled network; tighten, choose again
"""
from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ..factorization import METHODS, Method, Plan, method_name
from ..runner.data import Data
from ..support.code_version import code_version
from ..support.errors import TenfoldError
from ..support.progress import Progress, reporter
from .accuracy_model import SMALLEST, Estimate, Trend, layer_factors, points_per_loss
from .bounded_search import MAX_CHECKS, MAX_STEP, Found, Pick, loosest, within
from .budget import Budget
from .calibration.evaluation import Judge, Verdict, check, first, is_verdict, split
from .calibration.network_rewriter import NetworkRewriter
from .candidates import fields
from .infeasible import best_accurate, best_reachable
from .sensitivity import KEY, Sensitivity, is_sound
from .store import SEARCHES, TUNE_LOGS, Store, cache_folder
from .survey import LayerSurvey, survey
from .timing.latency_table import LatencyTable
from .timing.network_timing import Indices, Timing

if TYPE_CHECKING:
    from ..factorization import FactorChain
    from ..frontends import Network
    from ..targets import Target
    from .timing.device import Device

CANDIDATE_IMAGES = 512  # calibration images that single candidates are evaluated on
RISK = 0.05  # that a plan breaks the budget on further images although it passed
STANDARD_ERRORS = float(ndtri(1 - RISK))  # to spare
# Where plans are judged by their own errors, any of them may pass by luck (Bonferroni).
STANDARD_ERRORS_OF_ALL = float(ndtri(1 - RISK / MAX_CHECKS))
LIMIT_STEP = 1.15  # by which the first limits of the loss differ, once there is a trend
PROBE_POINTS = 2.0, 4.0, 8.0  # points of accuracy that plans shall lose, roughly, which the trend is taken from
PLAN_KEY = ("plan", "held_out", "code")
FURTHER_PLANS = 4  # plans that are verified after the bisection: losses that single layers predict badly may hide a faster one
LOSS_FACTORS = 1.0, 1.03, 1.06, 0.97, 0.94  # of the loss that is allowed: where these are looked for
WORTHWHILE_RATIO = 0.99  # of the milliseconds of the best: what is worth a try
FINALISTS = 3  # plans that hold and are timed against each other
FINALIST_RATIO = 1.1  # times the predicted time of the best that they may have
CHAINS_CACHED = 3  # plans whose chains are kept



@dataclass(frozen=True)
class Settings:
    """Where and how a search works.

    Attributes
    ----------
    target : Target
    device : Device
        What networks are timed on.
    cache : path, optional
        Folder for the latency table and for what was found out about candidates.
    correction : str, optional
        What follows every rewrite: see `correct`; default: the best for the network.
    methods : tuple of str, optional
        That are tried; default: all but those that are only starting points for training.
    """

    target: Target
    device: Device
    cache: str | os.PathLike[str] | None = None
    correction: str | None = None
    methods: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.methods is not None:
            object.__setattr__(self, "methods", tuple(method_name(name) for name in self.methods))

    def tried(self) -> list[Method]:
        """The methods whose candidates are looked at."""
        return [m for m in METHODS.values() if (not m.starting_point if self.methods is None else m.name in self.methods)]


class Search:
    """One network with its survey: choices can be asked of it.

    Parameters
    ----------
    network : Network
    data : Data
    settings : Settings
    progress : callable, optional

    Raises
    ------
    TenfoldError
        The network is no classifier, the data does not fit it, no layer can be factored.
    """

    def __init__(self, network: Network, data: Data, settings: Settings, progress: Progress | None = None) -> None:
        self.network, self.settings, self.say = network, settings, reporter(progress)
        self._begin = time.perf_counter()
        check(network, data)
        calibrating, held_out = split(data)
        self.rewriter = NetworkRewriter.of(network, calibrating, progress=self.say)
        self.correction = settings.correction or self.rewriter.correction()
        self.table = LatencyTable(settings.target, settings.device, cache_folder(settings.cache) / TUNE_LOGS)
        self.surveys = self._survey(first(calibrating, CANDIDATE_IMAGES))
        self.timing = Timing(network, self.surveys, self.table, settings.device, self.chains, self.say)
        self.costs = self.timing.costs
        self.judge = Judge(network, held_out)
        self._plans = Store(self._cache("plans"), PLAN_KEY, is_sound=lambda record: is_verdict(record.get("verdict")))
        self._context = {"held_out": self.judge.digest, "code": code_version("factorization", "search", "passes", "codegen")}
        self._verdicts: dict[Indices, Verdict] = {}
        self._chains: dict[Indices, dict[str, FactorChain]] = {}

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self._begin

    def plan(self, indices: Indices) -> Plan:
        """The plan of a choice."""
        return Plan(
            model=self.network.sha256,
            target=self.settings.target.name,
            layers=self.costs.choices(indices),
            refused=self.costs.reasons(indices),
            data=self.rewriter.calibration.sha256,
            correction=self.correction,
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
                self.say(f"verifying plan {len(self._verdicts) + 1} on {len(self.judge.data.x)} images")
                record = {**key, "verdict": self.judge.judge(chains).to_dict()}
                self._plans.put(record)
            self._verdicts[indices] = Verdict(**{name: record["verdict"][name] for name in Verdict.__dataclass_fields__})
        return self._verdicts[indices]

    def bytes(self, indices: Indices) -> int:
        """Of the ONNX file of a choice."""
        from ..passes.factorize_onnx import factorize_onnx

        return factorize_onnx(self.network.onnx, self.chains(indices)).ByteSize()

    @property
    def verdicts(self) -> list[Verdict]:
        """Of all plans that were verified."""
        return [verdict for indices, verdict in self._verdicts.items() if any(indices)]

    def find(self, budget: Budget) -> Indices:
        """The choice that `budget` asks for, verified.

        Raises
        ------
        TenfoldError
            The budget can't be met; the message says what the best reachable is.
        """
        limits = {name: limit for name, limit in (("ms", budget.most_ms(self.costs.whole.ms)), ("bytes", budget.most_bytes)) if limit}
        if budget.minimise == "ms":
            return self._fastest(budget, limits)
        if all(getattr(self.costs.whole, name) <= limit for name, limit in limits.items()):
            raise TenfoldError(f"{self.network.name}: the dense network is within the budget ({budget}) already")
        self.timing.know(self.costs.pick("loss", limits))
        found = self._within(lambda bounds: self.costs.pick("loss", bounds), limits)
        if found is None:
            raise TenfoldError(best_reachable(self, budget, limits))
        if budget.max_drop is None:
            return found
        self._probe(budget.max_drop)
        if not self._holds(found, budget.max_drop):
            raise TenfoldError(best_accurate(self, budget, found))
        return found

    def measured(self, indices: Indices, wanted: Iterable[str]) -> dict[str, float]:
        """The compiled network's ``ms`` and the file's ``bytes``, of those that are wanted."""
        return {name: self.bytes(indices) if name == "bytes" else self.timing.ms(indices) for name in wanted}

    def expected(self, indices: Indices) -> Estimate | None:
        """What a verified choice loses, by the trend; None where there is none, or the choice's own errors say more."""
        verdict = self.verdict(indices)
        trend = Trend.fit(self.verdicts) if self.judge.data.y is not None else None
        if trend is None or (estimate := trend(verdict)).uncertainty > verdict.uncertainty:
            return None
        return estimate

    def _fastest(self, budget: Budget, limits: dict[str, float]) -> Indices:
        start, step = self._start(budget.max_drop)
        self.timing.know(self.costs.pick("ms", {"loss": start, **limits}))

        def pick(bounds: Mapping[str, float]) -> Indices | None:
            # A choice that takes more bytes than predicted says nothing of its loss: only the limit on bytes is tightened for it.
            return self._within(lambda others: self.costs.pick("ms", {**bounds, **others}), limits)

        found = loosest(pick, lambda choice: self._holds(choice, budget.max_drop), start, limits, step)
        if found.best is None or not any(found.best):
            raise TenfoldError(best_reachable(self, budget, limits))
        holding = self._further(found, budget.max_drop, limits)
        if not holding:
            raise TenfoldError(best_reachable(self, budget, limits))
        if "ms" in limits:  # they were timed one by one, against the limit
            return holding[0]
        best = self.costs.predicted(holding[0]).ms
        final = [choice for choice in holding if self.costs.predicted(choice).ms <= FINALIST_RATIO * best][:FINALISTS]
        times = self.timing.together(final)
        return min(final, key=times.__getitem__)

    def _further(self, found: Found, max_drop: float, limits: dict[str, float]) -> list[Indices]:
        """All choices that hold, the fastest first as predicted, after some more: the best by losses as all verified plans correct them.

        Each plan that is verified moves the trend. Where none holds any more, the next ones are allowed less and less.
        """
        def holding() -> list[Indices]:
            choices = [choice for choice, held in found.tried.items() if held and any(choice) and self._holds(choice, max_drop)]
            return sorted(choices, key=lambda choice: self.costs.predicted(choice).ms)

        allowed, kept = inf, holding()
        for _ in range(FURTHER_PLANS):
            fast_enough = WORTHWHILE_RATIO * self.costs.predicted(kept[0]).ms if kept else inf
            verified = [choice for choice in self._verdicts if any(choice)]
            factors = layer_factors([self.costs.losses(choice) for choice in verified], [self._verdicts[c].kl for c in verified])
            if kept:
                allowed = self._most_loss(kept[0], max_drop)
            else:
                losses = [float(np.dot(factors, self.costs.losses(choice))) for choice in found.tried if any(choice)]
                allowed = min(allowed, *losses) / LIMIT_STEP
            near = (self.costs.pick("ms", {"loss": around * allowed, **limits}, factors) for around in LOSS_FACTORS)
            choice = next((c for c in near if c not in (None, *found.tried) and self.costs.predicted(c).ms < fast_enough), None)
            if choice is None and kept:
                break
            if choice is None:
                continue
            found.holds(choice, lambda choice: self._holds(choice, max_drop) and self._keeps(choice, limits))
            kept = holding()
        return kept

    def _keeps(self, choice: Indices, limits: dict[str, float]) -> bool:
        """Whether what is measured keeps limits."""
        return all(value <= limits[name] for name, value in self.measured(choice, limits).items())

    def _most_loss(self, best: Indices, max_drop: float) -> float:
        """That a plan may have: by the trend, or if there is none, as much as the best one that is known to hold."""
        trend = None if self.judge.data.y is None else Trend.fit(self.verdicts)
        return self.verdict(best).kl if trend is None else max_drop / (trend.slope + STANDARD_ERRORS * trend.uncertainty)

    def _within(self, pick: Pick, limits: dict[str, float]) -> Indices | None:
        """The choice whose ms and bytes, as measured, keep limits; None if there is none."""

        def predict(choice: Indices) -> dict[str, float]:
            return asdict(self.costs.predicted(choice))

        return within(pick, predict, lambda choice: self.measured(choice, limits), limits).best if limits else pick({})

    def _start(self, max_drop: float) -> tuple[float, float]:
        """The loss, as predicted, that comes to so many points; and a factor by which it may be off."""
        probes = self._probe(max_drop)
        trend = Trend.fit(self.verdict(probe) for probe in probes)
        if trend is None:
            return max_drop / self._points_per_loss(), MAX_STEP
        ratio = float(np.mean([self.verdict(probe).kl / self._predicted_loss(probe) for probe in probes]))
        return max_drop / (trend.slope + STANDARD_ERRORS * trend.uncertainty) / ratio, LIMIT_STEP

    def _probe(self, max_drop: float) -> list[Indices]:
        """Verify plans that are beyond the budget, for the trend."""
        if self.judge.data.y is None:
            return []
        slope = self._points_per_loss()
        probes: list[Indices] = []
        for points in (points for points in PROBE_POINTS if points > max_drop):
            probe = self.costs.pick("ms", {"loss": points / slope})
            if probe is None or not any(probe) or probe in probes:
                continue
            probes.append(probe)
            found = self.verdict(probe).drop / self._predicted_loss(probe)
            slope = float(np.clip(found, slope / MAX_STEP, slope * MAX_STEP))  # the next one goes by it
        return probes

    def _points_per_loss(self) -> float:
        """By the single layers' candidates that were evaluated."""
        evaluated = [option for s in self.surveys for option in s.open if option.verdict is not None]
        return points_per_loss([o.verdict.kl for o in evaluated], [o.verdict.drop for o in evaluated])

    def _predicted_loss(self, indices: Indices) -> float:
        """Above 0."""
        return max(self.costs.predicted(indices).loss, SMALLEST)

    def _holds(self, indices: Indices, max_drop: float) -> bool:
        if not any(indices):
            return True
        verdict, expected = self.verdict(indices), self.expected(indices)
        if expected is None:
            return verdict.drop + STANDARD_ERRORS_OF_ALL * verdict.uncertainty <= max_drop
        return max(verdict.drop, expected.drop + STANDARD_ERRORS * expected.uncertainty) <= max_drop

    def _cache(self, kind: str) -> Path:
        """The file of what is known of this network and data."""
        model, data = self.network.sha256[:12], self.rewriter.calibration.sha256[:12]
        return cache_folder(self.settings.cache) / SEARCHES / f"{model}-{data}-{kind}.jsonl"

    def _text(self, indices: Indices) -> str:
        """What a choice comes to: all that its verdict depends on, data and code aside."""
        layers = {name: [c.method, list(c.ranks), c.metric] for name, c in self.costs.choices(indices).items()}
        return json.dumps({"correction": self.correction, **layers}, sort_keys=True)

    def _survey(self, images: Data) -> list[LayerSurvey]:
        from ..passes.epilogues import steps_behind

        rewriter = self.rewriter
        sensitivity = Sensitivity(rewriter, Judge(self.network, images), Store(self._cache("layers"), KEY, is_sound=is_sound))
        informed, lanes = rewriter.calibration.statistics, self.settings.target.lanes
        candidates = fields(rewriter.layers, lanes, informed, self.settings.tried(), rewriter.weights)
        return survey(candidates, self.table, sensitivity, steps_behind(self.network.mod), self.say)
