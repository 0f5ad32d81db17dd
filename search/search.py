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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ..code_version import code_version
from ..errors import TenfoldError
from ..factorization import METHODS, Method, Plan
from ..runner.data import Data
from .budget import Budget
from .candidates import fields
from .costs import Costs, Whole, fastest
from .evaluate import Judge, Verdict, check, first, split
from .latency import LatencyTable
from .loss import LEAST, Estimate, Trend, points_per_loss
from .material import Material
from .sensitivity import KEY, Sensitivity
from .store import SEARCHES, TUNE_LOGS, Store, cache_folder
from .survey import LayerSurvey, survey
from .tighten import GROW, TRIES, Pick, loosest, within
from .unreachable import best_accurate, best_reachable

if TYPE_CHECKING:
    from ..factorization import FactorChain
    from ..frontends import Network
    from ..runner.bursts import Burst
    from ..targets import Target
    from .device import Device
    from .stopwatch import Times
    from .survey import Option

EVALUATED = 512  # calibration images that single candidates are evaluated on
RISK = 0.05  # that a plan breaks the budget on further images although it passed
SURE = float(ndtri(1 - RISK))  # standard errors to spare
SURE_OF_ALL = float(ndtri(1 - RISK / TRIES))  # where plans are judged by their own errors: any of them may pass by luck (Bonferroni)
STEP = 1.15  # by which the first limits of the loss differ, once there is a trend
PROBES = 2.0, 4.0, 8.0  # points of accuracy that plans shall lose, roughly, which the trend is taken from
PLAN_KEY = ("plan", "held_out", "code")
REMEMBERED = 2  # plans whose chains are kept

Progress = Callable[[str], None]
Indices = tuple[int, ...]


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
        self.network, self.settings, self.say = network, settings, progress or (lambda step: None)
        self._begin = time.perf_counter()
        check(network, data)
        calibrating, held_out = split(data)
        self.material = Material.of(network, calibrating, progress=self.say)
        self.correction = settings.correction or self.material.correction()
        self.table = LatencyTable(settings.target, settings.device, cache_folder(settings.cache) / TUNE_LOGS)
        self.surveys = self._survey(first(calibrating, EVALUATED))
        self.costs = Costs(self.surveys, self._whole())
        self.judge = Judge(network, held_out)
        self._plans = Store(self._cache("plans"), PLAN_KEY)
        self._context = {"held_out": self.judge.digest, "code": code_version("factorization", "search", "passes")}
        self._verdicts: dict[Indices, Verdict] = {}
        self._chains: dict[Indices, dict[str, FactorChain]] = {}
        self._times: dict[Indices, tuple[float, float, float]] = {}

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
            data=self.material.calibration.sha256,
            correction=self.correction,
        )

    def chains(self, indices: Indices) -> dict[str, FactorChain]:
        """Of a choice, corrected."""
        if indices not in self._chains:
            self._chains[indices] = self.material.chains(self.plan(indices), self.say)
            if len(self._chains) > REMEMBERED:
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
            self._verdicts[indices] = Verdict(**record["verdict"])
        return self._verdicts[indices]

    def bytes(self, indices: Indices) -> int:
        """Of the ONNX file of a choice."""
        from ..passes.factorize_onnx import factorize_onnx

        return factorize_onnx(self.network.onnx, self.chains(indices)).ByteSize()

    def burst(self, indices: Indices) -> Burst:
        """The compiled network of a choice, to be timed."""
        from ..passes.factorize import Factorize

        chains = self.chains(indices)
        self.say("compiling the whole network")
        return self.settings.device.network(Factorize(chains)(self.network.mod))

    def race(self, bursts: Sequence[Burst]) -> list[float]:
        """Milliseconds of networks, timed in turns."""
        self.say("timing whole networks")
        return list(self.table.stopwatch().time(bursts).ms)

    def times(self, indices: Indices) -> tuple[float, float, float]:
        """Milliseconds of the dense network, the fastest one and a choice, timed in turns."""
        if indices not in self._times:
            bursts = [self.burst((0,) * len(indices)), self._outlined(self._fastest_of_all()), self.burst(indices)]
            dense, fastest_ms, ms = self.race(bursts)
            self._times[indices] = dense, fastest_ms, ms
        return self._times[indices]

    def foreseen(self, indices: Indices) -> float:
        """Milliseconds of a choice by its layers' times, as the machine was in `times`: its speed is not always the same.

        Like `measured`, in the time of the dense network's first measurement.
        """
        dense, fastest, _ = self.times(indices)
        share = self.costs.share(indices)
        return (share * dense + (1 - share) * fastest) * self.costs.whole.ms / dense

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
        self._know(self.costs.pick("loss", limits))
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
        result: dict[str, float] = {}
        for name in wanted:
            if name == "bytes":
                result[name] = self.bytes(indices)
            else:
                dense, _, ms = self.times(indices)
                result[name] = ms * self.costs.whole.ms / dense  # as limits are: in the time of the first measurement
        return result

    def expected(self, indices: Indices) -> Estimate | None:
        """What a verified choice loses, by the trend; None where there is none, or the choice's own errors say more."""
        verdict = self.verdict(indices)
        trend = Trend.fit(self.verdicts) if self.judge.data.y is not None else None
        if trend is None or (estimate := trend(verdict)).uncertainty > verdict.uncertainty:
            return None
        return estimate

    def _fastest(self, budget: Budget, limits: dict[str, float]) -> Indices:
        start, step = self._start(budget.max_drop)
        self._know(self.costs.pick("ms", {"loss": start, **limits}))

        def pick(bounds: Mapping[str, float]) -> Indices | None:
            # A choice that takes more bytes than predicted says nothing of its loss: only the limit on bytes is tightened for it.
            return self._within(lambda others: self.costs.pick("ms", {**bounds, **others}), limits)

        found = loosest(pick, lambda choice: self._holds(choice, budget.max_drop), start, limits, step)
        if found.best is None or not any(found.best):
            raise TenfoldError(best_reachable(self, budget, limits))
        return found.best

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
            return max_drop / self._points_per_loss(), GROW
        ratio = float(np.mean([self.verdict(probe).kl / self._predicted_loss(probe) for probe in probes]))
        return max_drop / (trend.slope + SURE * trend.uncertainty) / ratio, STEP

    def _probe(self, max_drop: float) -> list[Indices]:
        """Verify plans that are beyond the budget, for the trend."""
        if self.judge.data.y is None:
            return []
        slope = self._points_per_loss()
        probes: list[Indices] = []
        for points in (points for points in PROBES if points > max_drop):
            probe = self.costs.pick("ms", {"loss": points / slope})
            if probe is None or not any(probe) or probe in probes:
                continue
            probes.append(probe)
            found = self.verdict(probe).drop / self._predicted_loss(probe)
            slope = float(np.clip(found, slope / GROW, slope * GROW))  # the next one goes by it
        return probes

    def _points_per_loss(self) -> float:
        """By the single layers' candidates that were evaluated."""
        evaluated = [option for s in self.surveys for option in s.open if option.verdict is not None]
        return points_per_loss([o.verdict.kl for o in evaluated], [o.verdict.drop for o in evaluated])

    def _predicted_loss(self, indices: Indices) -> float:
        """Above 0."""
        return max(self.costs.predicted(indices).loss, LEAST)

    def _holds(self, indices: Indices, max_drop: float) -> bool:
        if not any(indices):
            return True
        verdict, expected = self.verdict(indices), self.expected(indices)
        if expected is None:
            return verdict.drop + SURE_OF_ALL * verdict.uncertainty <= max_drop
        return max(verdict.drop, expected.drop + SURE * expected.uncertainty) <= max_drop

    def _cache(self, kind: str) -> Path:
        """The file of what is known of this network and data."""
        model, data = self.network.sha256[:12], self.material.calibration.sha256[:12]
        return cache_folder(self.settings.cache) / SEARCHES / f"{model}-{data}-{kind}.jsonl"

    def _text(self, indices: Indices) -> str:
        """What a choice comes to: all that its verdict depends on, data and code aside."""
        layers = {name: [c.method, list(c.ranks), c.metric] for name, c in self.costs.choices(indices).items()}
        return json.dumps({"correction": self.correction, **layers}, sort_keys=True)

    def _survey(self, images: Data) -> list[LayerSurvey]:
        from ..passes.activation import steps_behind

        material = self.material
        sensitivity = Sensitivity(material, Judge(self.network, images), Store(self._cache("layers"), KEY))
        informed, lanes = material.calibration.statistics, self.settings.target.lanes
        candidates = fields(material.layers, lanes, informed, self.settings.tried(), material.weights)
        return survey(candidates, self.table, sensitivity, steps_behind(self.network.mod), self.say)

    def _whole(self) -> Whole:
        self.say("timing the dense network and the fastest one")
        times = self._timed({}, self._fastest_of_all())
        return Whole(*times.at(self.table.yardstick), self.network.onnx.ByteSize())

    def _fastest_of_all(self) -> dict[str, Option]:
        return {survey.layer.name: option for survey in self.surveys if (option := fastest(survey)) is not None}

    def _know(self, indices: Indices | None) -> None:
        """Time the network of a first choice: what is chosen in the end is most likely near it."""
        if indices is None or not any(indices):
            return
        self.say("timing a first choice")
        chosen = {name: option for name, option in self.costs.chosen(indices).items() if option is not None}
        dense, fastest_ms, ms = self._timed({}, self._fastest_of_all(), chosen).ms
        if dense > fastest_ms:  # whichever of the machine's speeds this was: what counts is where the network lies between the others
            self.costs.know(indices, self.costs.at((ms - fastest_ms) / (dense - fastest_ms)))

    def _timed(self, *networks: Mapping[str, Option]) -> Times:
        """Of networks with options in the places of layers, in turns."""
        return self.table.stopwatch().time([self._outlined(options) for options in networks])

    def _outlined(self, options: Mapping[str, Option]) -> Burst:
        """The compiled network with options in the places of layers, their weights random."""
        from ..passes.factorize import Factorize
        from ..passes.trial import with_random_weights

        chains = {name: with_random_weights(option.candidate.outline()) for name, option in options.items()}
        return self.settings.device.network(Factorize(chains)(self.network.mod) if chains else self.network.mod)
