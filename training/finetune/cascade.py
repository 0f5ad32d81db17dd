"""Layer by layer: compress one, tune those above until the accuracy is back, compress the next. Denton et al. (2014), section 4.2."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ...factorization import Choice, Plan
from ...support.errors import TenfoldError
from ..data import Prepared
from ..loop import Objective, TrainingSettings, train
from ..loop.evaluation import evaluate
from ..loop.progress import Display
from .freezing import freeze_through, thaw
from .module_layers import ModuleLayers
from .replaced import by_module, factored


@dataclass(frozen=True)
class Cascaded:
    """What became of one layer.

    Attributes
    ----------
    name : str
        Of the layer.
    choice : Choice
        How it was factored.
    before, compressed, tuned : float
        Accuracy of the network before it was factored, then, and after those above were tuned.
    steps : int
        That took.
    restored : bool
        Whether the accuracy came back, up to what may be lost.
    """

    name: str
    choice: Choice
    before: float
    compressed: float
    tuned: float
    steps: int
    restored: bool


def cascade(
    network: nn.Module,
    choices: Plan | Mapping[str, Choice],
    data: Prepared,
    settings: TrainingSettings,
    *,
    may_lose: float = 0.0,
    objective: Objective | None = None,
    display: Display | None = None,
) -> tuple[nn.Module, list[Cascaded]]:
    """Factor layers one after the other, from the lowest on; after each, tune all that is above it.

    Of the weights that tuning has moved, the next layer is factored. Whether the accuracy is back is asked of the test part of `data`: take
    images held out from training for it, not those that the result will be reported on.

    Parameters
    ----------
    network : nn.Module
        Trained; left as it is.
    choices : Plan, or mapping of str to Choice
        By the names of modules.
    data : Prepared
        To tune and to test with.
    settings : TrainingSettings
        Of the tuning of one layer; `steps` are the most it gets.
    may_lose : float
        Accuracy, of 1, that need not come back: of the network before anything was factored.
    objective : Objective, optional
        Default: the cross-entropy.
    display : Display, optional
        As of `loop.train`.

    Returns
    -------
    nn.Module, list of Cascaded
        The network, and what became of each layer, in the order in which they were factored.

    Raises
    ------
    TenfoldError
        As of `factored` and `loop.train`.
    """
    wanted = by_module(network, choices, data.shape)
    order = [name for name in ModuleLayers(network, data.shape).layers if name in wanted]
    unknown = sorted(wanted.keys() - {*order})
    if unknown:
        raise TenfoldError(f"layer {unknown[0]!r} of the plan is not in the network")
    goal = accuracy = evaluate(network, data, objective, settings.channels_last)[1]
    done = []
    for name in order:
        network = factored(network, {name: wanted[name]}, data.shape)
        compressed = tuned = evaluate(network, data, objective, settings.channels_last)[1]
        steps = 0
        if compressed < goal - may_lose and not _is_last(network, name, data):
            frozen = freeze_through(network, name, data.shape)
            outcome = train(
                network, data, settings, objective=objective, frozen=frozen, display=display,
                until=lambda row: row.test_accuracy >= goal - may_lose,
            )  # fmt: skip
            steps, tuned = outcome.step, outcome.accuracy
            thaw(network)
        done.append(Cascaded(name, wanted[name], accuracy, compressed, tuned, steps, tuned >= goal - may_lose))
        accuracy = tuned
    return network, done


def _is_last(network: nn.Module, name: str, data: Prepared) -> bool:
    last, _ = ModuleLayers(network, data.shape).executed[-1]
    return last == name or last.startswith(f"{name}.")
