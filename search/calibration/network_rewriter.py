"""What a plan is carried out on: a network with its layers and weights, and what calibration images say of them.

A search and the replay of its plan both come here for their chains, which is why they give the same bytes.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ...passes.factorize_onnx import factorize_onnx, stage_names
from ...passes.inventory import inventory, weights
from ...passes.prune import without_pruned
from ...runner.data import Data
from ...runner.quantize.rewrite import calibrating, layer_names, quantize_graph
from ...runner.quantize.settings import QuantizationSettings
from ...support.errors import TenfoldError
from ...support.input_set import Images
from ...support.phases import phase
from ...support.progress import Progress, reporter
from .correction import correct
from .evaluation import first, split
from .kept_corrections import KeptCorrections
from .moments import MAX_WIDTH, Calibration, calibrate, digest
from .pruning import Pruned, Pruning, is_pruning, prunes

if TYPE_CHECKING:
    import onnx

    from ...factorization import Choice, FactorChain, Layer, Plan
    from ...frontends import Network

CALIBRATION_IMAGES = 8192  # of the calibration part that statistics are taken from: a dense layer sees one patch of each
CORRECTION_IMAGES = 4096  # of these that corrections are taken from
QUANTIZED_KEPT = 4  # graphs of plans
NO_CORRECTION = "none"  # what follows a rewrite where there is no data


@dataclass(frozen=True)
class NetworkRewriter:
    """A network, opened.

    Attributes
    ----------
    network : Network
    layers : list of Layer
    weights : dict of str to ndarray
    images : ndarray, InputSet or None
        To calibrate with.
    calibration : Calibration or None
        Of these images; None where nothing asks for it.
    factored : dict
        The chains, not corrected, that were found so far, by layer and choice.
    kept : KeptCorrections
        What the corrections of plans found so far.
    cut : dict
        The layers that were pruned so far, likewise.
    quantized : dict
        The last graphs with layers on bytes, by the text of the plan.
    """

    network: Network
    layers: list[Layer]
    weights: Mapping[str, np.ndarray]
    images: Images | None = None
    calibration: Calibration | None = None
    factored: dict[tuple[str, Choice], FactorChain] = field(default_factory=dict, repr=False)
    kept: KeptCorrections = field(default_factory=KeptCorrections, repr=False)
    cut: dict[tuple[str, Choice], Pruned] = field(default_factory=dict, repr=False)
    quantized: dict[str, onnx.ModelProto] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, network: Network, calibrating: Data | None = None, labels: bool = False, progress: Progress | None = None
    ) -> NetworkRewriter:
        """Collect statistics from the first images of `calibrating`, if given; with `labels`, those that need labels too."""
        layers, arrays = inventory(network.mod), weights(network.mod)
        if calibrating is None:
            return cls(network, layers, arrays)
        some = first(calibrating, CALIBRATION_IMAGES)
        calibration = calibrate(network, layers, some.x, some.y if labels else None, progress=progress)
        return cls(network, layers, arrays, some.x, calibration)

    @classmethod
    def correcting(cls, network: Network, data: Data, progress: Progress | None = None) -> NetworkRewriter:
        """For a plan that no data chooses, whose chains are corrected with the images of `data`, labels or not."""
        data.check_all(network.inputs, network.name)
        return cls.of(network, split(data)[0], progress=progress)

    @classmethod
    def for_plan(cls, network: Network, plan: Plan, data: Data | None, progress: Progress | None = None) -> NetworkRewriter:
        """What `plan` needs.

        Raises
        ------
        TenfoldError
            The plan was made with data, and there is none, or other data.
        """
        if plan.data is None:
            return cls.of(network)
        if data is None:
            raise TenfoldError("the plan was made with data: give the same data again (--data)")
        data.check_all(network.inputs, network.name)
        part = split(data)[0]
        if digest(first(part, CALIBRATION_IMAGES).x) != plan.data:
            raise TenfoldError(f"{data.name}: the plan was made with other data: its factors would come out differently")
        return cls.of(network, part, any(choice.metric == "mahalanobis" for choice in plan.layers.values()), progress)

    @functools.cached_property
    def pruning(self) -> Pruning:
        """What leaves filters of its layers out."""
        return Pruning(self.network, self.layers, self.weights, {} if self.calibration is None else self.calibration.statistics)

    @property
    def calibrated(self) -> Calibration:
        """The calibration, where there is one; ValueError elsewhere."""
        if self.calibration is None:
            raise ValueError("there is no data")
        return self.calibration

    def correction(self) -> str:
        """The best one that there is for the network here."""
        if find_spec("torch") is None or len(self.network.inputs) != 1:
            return "response"
        from ...frontends.reference.fisher import runs  # torch is an extra

        return "fisher" if runs(self.network.onnx) else "response"

    def chains(self, plan: Plan, progress: Progress | None = None) -> dict[str, FactorChain]:
        """The chains of a plan, corrected as it says."""
        say, count = reporter(progress), len(plan.layers)
        chains = {}
        for number, (name, choice) in enumerate(plan.layers.items()):
            if not is_pruning(choice):
                chains[name] = self._factored(plan, name, functools.partial(say, done=number, total=count))
        fixed = self._prune(plan, chains)
        if plan.correction == NO_CORRECTION or not chains:
            return chains
        assert self.images is not None  # `for_plan` asks for them
        images = self.images[:CORRECTION_IMAGES]
        with phase("correcting plans"):
            return correct(self.network, self.layers, chains, images, plan.correction, kept=self.kept, fixed=fixed, progress=progress)

    def emitted(self, plan: Plan, chains: Mapping[str, FactorChain], progress: Progress | None = None) -> onnx.ModelProto:
        """The graph with the chains of a plan, without the channels that it prunes, and with quantizers around its layers on bytes."""
        small = self.in_float32(plan, chains)
        if not plan.precision:
            return small
        assert self.images is not None  # a plan with precision has data, which `for_plan` asks for
        key = plan.to_json()
        if key not in self.quantized:
            stages = stage_names(plan.precision, chains)
            keep = [name for name in layer_names(small) if name not in stages]
            how = calibrating(self.images), self.network.inputs[0].shape[0], QuantizationSettings(), reporter(progress)
            with phase("quantizing plans"):
                self.quantized[key] = quantize_graph(self.network.name, small, *how, keep).quantized
            if len(self.quantized) > QUANTIZED_KEPT:
                self.quantized.pop(next(iter(self.quantized)))
        return self.quantized[key]

    def in_float32(self, plan: Plan, chains: Mapping[str, FactorChain]) -> onnx.ModelProto:
        """Likewise, without quantizers."""
        small = factorize_onnx(self.network.onnx, dict(chains))
        return without_pruned(small) if prunes(plan.layers) else small

    def _prune(self, plan: Plan, chains: dict[str, FactorChain]) -> set[str]:
        """Add the chains of pruned layers, and of those behind them; returns the ones that no correction is to change.

        A layer behind that is factored itself is left to its correction; one that is pruned too gets its bias.
        """
        found = {name: self._pruned(name, choice).chains for name, choice in plan.layers.items() if is_pruning(choice)}
        chains |= {name: added[name] for name, added in found.items()}
        for name, added in found.items():
            for reader, chain in added.items():
                bias = chain.stages[0].bias
                if reader in found and reader != name:
                    assert bias is not None  # it takes over the mean of what was pruned
                    alive = chains[reader].stages[0].weight.any(axis=(1, 2, 3))
                    chains[reader] = chains[reader].with_bias(np.where(alive, bias, 0))
                elif reader not in chains:
                    chains[reader] = chain
        behind = {reader for added in found.values() for reader in added}
        wide = {layer.name for layer in self.layers if layer.name in behind and prod(layer.weight_shape[1:]) > MAX_WIDTH}
        return {*found, *(wide - plan.layers.keys())}

    def _pruned(self, name: str, choice: Choice) -> Pruned:
        key = name, choice
        if key not in self.cut:
            self.cut[key] = self.pruning.pruned(name, choice)
        return self.cut[key]

    def _factored(self, plan: Plan, name: str, say: Callable[[str], None]) -> FactorChain:
        """The chain of one layer: plans that are tried after each other differ in few."""
        key = name, plan.layers[name]
        if key not in self.factored:
            say(f"factoring {name}")
            statistics = None if self.calibration is None else self.calibration.statistics
            part = replace(plan, layers={name: plan.layers[name]}, correction=NO_CORRECTION)
            with phase("factoring plans"):
                self.factored[key] = part.chains(self.layers, self.weights, statistics)[name]
        return self.factored[key]
