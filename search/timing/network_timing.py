"""Whole networks on the target: what compiled choices take, timed in turns, and what was to be expected of them."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...frontends import load
from ...passes.factorize_onnx import factorize_onnx, stage_names
from ...passes.prune import without_pruned
from ...runner.quantize.rewrite import layer_names, with_any_steps
from ...support.phases import phase
from ...support.progress import Progress
from ..calibration.pruning import prunes
from ..costs import Costs, Whole
from ..knapsack import Indices

if TYPE_CHECKING:
    import onnx
    import tvm

    from ...factorization import FactorChain
    from ...frontends import Network
    from ...runner.bench.timed_module import TimedModule
    from ..calibration.pruning import Pruning
    from ..choices import Choices
    from .latency_table import LatencyTable
    from .timer import Timer


class CarriedOut(Protocol):
    """Choices of one network, with their weights."""

    def chains(self, indices: Indices) -> dict[str, FactorChain]:
        """Of the layers that are factored."""

    def emitted(self, indices: Indices) -> onnx.ModelProto:
        """The whole graph."""



class Timing:
    """The whole networks of one search.

    Parameters
    ----------
    network : Network
        Dense.
    choices : Choices
        Of the layers.
    table : LatencyTable
        Whose stopwatch and yardstick are used.
    device : Timer
    carried_out : CarriedOut
        Choices with their weights.
    progress : callable
    pruning : Pruning, optional
        What prunes layers, where some choices do.

    Attributes
    ----------
    costs : Costs
    """

    def __init__(self, network: Network, choices: Choices, table: LatencyTable, device: Timer, carried_out: CarriedOut,
                 progress: Progress, pruning: Pruning | None = None) -> None:
        self._pruning, self._choices = pruning, choices
        self._network, self._table, self._device, self._carried_out, self._say = network, table, device, carried_out, progress
        self.dense: Indices = (0,) * len(choices.surveys)
        self.costs = Costs(choices, self._whole())
        self._first: Indices | None = None
        self._together: dict[Indices, dict[Indices, float]] = {}
        self._foretold: dict[Indices, float] = {}

    def timed(self, indices: Indices) -> TimedModule:
        """The compiled network of a choice, to be timed."""
        mod = self._module(indices)
        self._say("compiling the whole network")
        with phase("compiling networks"):
            return self._device.network(mod)

    def race(self, modules: Sequence[TimedModule]) -> list[float]:
        """Milliseconds of networks, timed in turns."""
        self._say("timing whole networks")
        with phase("timing networks"):
            return list(self._table.stopwatch().time(modules).ms)

    def know(self, indices: Indices | None) -> None:
        """Time the network of a first choice: what is chosen in the end is most likely near it."""
        if indices is None or indices in (self.dense, self._choices.fastest):
            return
        self._say("timing a first choice")
        dense, fastest_ms, ms = self.race([self._outlined(each) for each in (self.dense, self._choices.fastest, indices)])
        if dense > fastest_ms:  # whichever of the machine's speeds this was: what counts is where the network lies between the others
            self._first = indices
            # Noise may put it outside them, by many times their distance where that is small.
            self.costs.know(indices, self.costs.at(min(max((ms - fastest_ms) / (dense - fastest_ms), 0.0), 1.0)))

    def together(self, choices: Sequence[Indices]) -> dict[Indices, float]:
        """Milliseconds of choices, of the dense network, and of those that times are foretold from, timed in turns."""
        references = [self.dense]
        references += [each for each in dict.fromkeys((self._choices.fastest, self._first)) if each is not None and any(each)]
        modules = [self.timed(self.dense), *map(self._outlined, references[1:]), *map(self.timed, choices)]
        ms = self.race(modules)
        beside = dict(zip(references, ms, strict=False))
        times = {**beside, **dict(zip(choices, ms[len(references):], strict=True))}
        for indices in choices:
            # A first choice that is the one in the end does not foretell itself.
            others = {each: ms for each, ms in beside.items() if each != indices or each == self._choices.fastest}
            self._together[indices], self._foretold[indices] = times, self.costs.foretold(indices, others)
        return times

    def tune(self, choices: Sequence[Indices]) -> None:
        """Tune the kernels of choices, all of them alike. They are timed anew then.

        Raises
        ------
        TenfoldError
            The timer is the caller's own, which takes no records.
        """
        from .tune_networks import tune_networks

        networks = [self._module(each) for each in choices]
        with phase("tuning"):
            tune_networks(networks, self._device, self._say)
        self._together.clear()

    def ms(self, indices: Indices) -> float:
        """Measured, in the time of the dense network's first measurement, as limits are."""
        return self._at_first(indices, self._times(indices)[indices])

    def foreseen(self, indices: Indices) -> float:
        """By the layers' times and the other networks beside which it was timed: the machine's speed is not always the same. Likewise."""
        times = self._times(indices)
        return self._at_first(indices, self._foretold.get(indices, times[indices]))

    def _times(self, indices: Indices) -> dict[Indices, float]:
        return self._together[indices] if indices in self._together else self.together([indices])

    def _at_first(self, indices: Indices, ms: float) -> float:
        return ms * self.costs.whole.ms / self._times(indices)[self.dense]

    def _whole(self) -> Whole:
        self._say("timing the dense network and the fastest one")
        modules = [self._outlined(self.dense), self._outlined(self._choices.fastest)]
        with phase("timing networks"):
            times = self._table.stopwatch().time(modules)
        dense, fastest_ms = times.at(self._table.yardstick)
        return Whole(dense, fastest_ms, self._network.onnx.ByteSize())

    def _outlined(self, indices: Indices) -> TimedModule:
        """The compiled network of a choice, its weights random."""
        from ...passes.layer_module import with_random_weights

        options = {name: option for name, option in self._choices.chosen(indices).items() if option is not None}
        cut = {name: option.candidate for name, option in options.items() if option.candidate.prunes}
        chains = {name: with_random_weights(option.candidate.outline()) for name, option in options.items() if name not in cut}
        if cut:
            assert self._pruning is not None  # otherwise there are no such options
            chains |= {name: self._pruning.only(name, np.arange(candidate.choice.ranks[0])) for name, candidate in cut.items()}
        on_bytes = self._choices.byte_forms(indices)
        with phase("compiling networks"):
            if on_bytes:
                return self._device.network(self._on_bytes(chains, set(on_bytes), bool(cut)))
            return self._device.network(self._factored(chains, bool(cut)) if chains else self._network.mod)

    def _module(self, indices: Indices) -> tvm.IRModule:
        if self._choices.byte_forms(indices):
            return load(self._carried_out.emitted(indices)).mod
        return self._factored(self._carried_out.chains(indices), prunes(self._choices.factored(indices)))

    def _on_bytes(self, chains: dict[str, FactorChain], layers: set[str], cut: bool) -> tvm.IRModule:
        """With layers on bytes, whose steps say nothing."""
        small = factorize_onnx(self._network.onnx, chains)
        small = without_pruned(small) if cut else small
        stages = stage_names(layers, chains)
        return load(with_any_steps(self._network.name, small, [name for name in layer_names(small) if name not in stages])).mod

    def _factored(self, chains: dict[str, FactorChain], cut: bool) -> tvm.IRModule:
        if cut:  # channels are taken out of the graph
            return replace(self._network, onnx=without_pruned(factorize_onnx(self._network.onnx, chains))).mod
        from ...passes.factorize import Factorize

        rewrite: Any = Factorize(chains)  # TVM's decorator makes it a pass, which its type does not say
        return rewrite(self._network.mod)
