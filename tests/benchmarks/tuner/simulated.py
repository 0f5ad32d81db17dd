"""A machine that is made up, for studies without a device: it resembles the one that the models describe, and differs from it at random.

    latency = price by a model with other figures  x  exp(interactions of features)  x  noise

The figures are those of the target, each multiplied by a random factor. Interactions are waves over pairs of features that belong to the
machine, so that what is learned from one kernel holds for the next one. A kernel without a model has a price by its multiply-adds and its
bytes. Nothing of it was measured.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from tenfold.schedules.backend import Kernel
from tenfold.schedules.space import Point
from tenfold.schedules.terms import milliseconds
from tenfold.targets import CpuTarget, GpuTarget
from tenfold.tuning.features import FEATURE_NAMES, FeatureMaker
from tenfold.tuning.pool import Key, key_of

FIGURES = 0.4       # standard deviation of the logarithm of the factors of figures
INTERACTIONS = 0.2  # of the logarithm of latencies, by interactions
NOISE = 0.01        # of one measurement
WAVES = 16
CHANGED = ("per_cycle", "latency", "cycles")  # ends of the names of figures that are changed
VARYING = [i for i, name in enumerate(FEATURE_NAMES) if name.startswith(("term", "knob", "stage")) and name != "term ms"]


@dataclass(frozen=True)
class Machine:
    """A made-up machine.

    Attributes
    ----------
    target : CpuTarget or GpuTarget
        What kernels are made for.
    seed : int
    distance : float
        How far it is from the models: a factor of the spread of figures and of interactions.
    """

    target: CpuTarget | GpuTarget
    seed: int
    distance: float = 1.0

    @cached_property
    def real(self) -> CpuTarget | GpuTarget:
        """The target with the figures of the machine."""
        rng = np.random.default_rng(self.seed)
        model = self.target.model
        factors = {f.name: float(np.exp(self.distance * FIGURES * rng.standard_normal())) for f in fields(model)}
        changed = {name: getattr(model, name) * factor for name, factor in factors.items() if name.endswith(CHANGED)}
        if isinstance(self.target, CpuTarget):
            spread = self.distance * FIGURES
            caches = {name: int(getattr(self.target, name) * np.exp(spread * rng.standard_normal())) for name in ("l1_bytes", "l2_bytes")}
            return replace(self.target, model=replace(model, **changed), **caches)
        return replace(self.target, model=replace(model, **changed))

    @cached_property
    def waves(self) -> tuple[np.ndarray, np.ndarray]:
        """(waves, features) and (waves): frequencies, of two features each, and phases."""
        rng = np.random.default_rng(self.seed + 1)
        frequencies = np.zeros((WAVES, len(FEATURE_NAMES)))
        for row in frequencies:
            row[rng.choice(VARYING, 2, replace=False)] = rng.normal(0, 0.8, 2)
        return frequencies, rng.uniform(0, 2 * np.pi, WAVES)


class Task:
    """A kernel on a machine."""

    def __init__(self, kernel: Kernel, machine: Machine, seed: int = 0):
        self.kernel, self.machine = kernel, machine
        self._features, self._rng = FeatureMaker(kernel, machine.target), np.random.default_rng(seed)
        self._known: dict[Key, float] = {}

    def exact(self, point: Point) -> float:
        """Return the latency of a point without noise."""
        key = key_of(point)
        if key not in self._known:
            built = self.kernel.at(point)
            price = _price(replace(built, target=self.machine.real).terms(), self.machine.real)
            frequencies, phases = self.machine.waves
            waves = np.sin(frequencies @ self._features(point) + phases)
            self._known[key] = price * float(np.exp(self.machine.distance * INTERACTIONS * np.sqrt(2 / WAVES) * waves.sum()))
        return self._known[key]

    def measure(self, point: Point) -> float:
        """Return the latency of a point as it is measured."""
        return self.exact(point) * float(np.exp(NOISE * self._rng.standard_normal()))

    @property
    def best(self) -> float:
        """The least latency of all points that were asked for."""
        return min(self._known.values())


def _price(terms: Mapping[str, float], target: CpuTarget | GpuTarget) -> float:
    """Milliseconds by the model, or, of a GPU's kernel without one, by what it computes and moves."""
    if "ms" in terms:
        return terms["ms"]
    model = target.model
    assert isinstance(target, GpuTarget)
    products = terms["macs"] * terms["excess"] * terms["tail"] / (model.fma_per_cycle * model.sms)
    bytes_ = max(terms["l1_bytes"] / (128 * model.sms), terms["l2_bytes"] / model.l2_bytes_per_cycle)
    return milliseconds(max(products, bytes_) + model.launch_cycles, model.clock_ghz)
