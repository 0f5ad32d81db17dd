"""Which forms of which ranks are worth a look, layer by layer, before anything is factored or timed.

Ranks come from shapes alone: ladders of costs. What a method suggests for a weight (variational Bayes for Tucker-2) is one rung more.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..factorization import METHODS, Choice, FactorChain, Layer, Method
from ..factorization.methods.prune import NAME as PRUNE
from ..passes.prune import block
from ..support.errors import Refusal

LADDER_STEPS = 16  # ranks of one method, from the cheapest to as dear as the layer
Readers = Callable[[str], "tuple[Layer, ...] | Refusal"]
COARSE_STEPS = 4  # of them, evenly spread, that are tried first


@dataclass(frozen=True)
class Candidate:
    """One way to factor one layer, or to prune it: then with the layers behind, which lose inputs."""

    layer: Layer
    choice: Choice
    readers: tuple[Layer, ...] = ()

    @property
    def prunes(self) -> bool:
        """Whether filters are left out."""
        return self.choice.method == PRUNE

    def cut(self) -> tuple[Layer, ...]:
        """The layer without the filters that go, and those behind it without the inputs that go."""
        kept, shape = self.choice.ranks[0], self.layer.weight_shape
        behind = [replace(reader, weight_shape=_fewer(reader.weight_shape, kept, shape[0])) for reader in self.readers]
        return replace(self.layer, weight_shape=(kept, *shape[1:])), *behind

    def outline(self) -> FactorChain:
        """Its chain, without weights."""
        return METHODS[self.choice.method].outline(self.layer, self.choice.ranks)

    @property
    def macs(self) -> int:
        """Of one run; less what layers behind save, where filters are left out."""
        if self.prunes:
            return sum(layer.macs for layer in self.cut()) - sum(layer.macs for layer in self.readers)
        return METHODS[self.choice.method].macs(self.layer, self.choice.ranks)

    @property
    def params(self) -> int:
        """Weights of all stages; less what layers behind save, where filters are left out."""
        if self.prunes:
            return sum(layer.params for layer in self.cut()) - sum(layer.params for layer in self.readers)
        return self.outline().params

    def __str__(self) -> str:
        return f"{self.layer.name}: {self.choice.method} {', '.join(map(str, self.choice.ranks))}"


@dataclass(frozen=True)
class Field:
    """The candidates of one layer.

    Attributes
    ----------
    layer : Layer
    ladders : dict of str to tuple of Candidate
        By method, from the fewest MACs to the most.
    refused : dict of str to str
        The methods of its kind that do not apply, with the reason.
    """

    layer: Layer
    ladders: dict[str, tuple[Candidate, ...]]
    refused: dict[str, str]

    def coarse(self) -> list[Candidate]:
        """A few of each method, that tell whether it is any good here."""
        return [candidate for ladder in self.ladders.values() for candidate in spread(ladder, COARSE_STEPS)]


def fields(
    layers: Iterable[Layer],
    multiple: int,
    informed: Collection[str] = (),
    methods: Iterable[Method] | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    readers: Readers | None = None,
) -> list[Field]:
    """The candidates of every layer.

    Parameters
    ----------
    layers : iterable of Layer
    multiple : int
        Ranks are multiples of it: the numbers in a vector of the target.
    informed : collection of str
        The layers that statistics are known of: factors are fitted in the covariance metric; in the Frobenius norm elsewhere.
    methods : iterable of Method, optional
        Default: all but those that are a start for training.
    weights : dict of str to ndarray, optional
        Of the layers, for the ranks that methods suggest.
    readers : callable, optional
        The layers behind one, by its name, or why it can't be pruned. None: none can.
    """
    methods = [method for method in METHODS.values() if not method.starting_point] if methods is None else list(methods)
    found, weights = [], weights or {}
    for layer in layers:
        metric = "covariance" if layer.name in informed else "frobenius"
        mine = [method for method in methods if method.kind == layer.kind]
        found.append(_field(layer, multiple, metric, mine, weights.get(layer.name), readers))
    return found


def only(fields: Iterable[Field], forms: Mapping[str, Choice]) -> list[Field]:
    """The same fields with no candidates but these, where their methods apply."""
    found = []
    for field in fields:
        choice = forms.get(field.layer.name)
        mine = field.ladders.get(choice.method, ()) if choice is not None else ()
        kept: dict[str, tuple[Candidate, ...]] = {}
        if choice is not None and mine:
            kept[choice.method] = (replace(mine[0], choice=choice),)
        refused = field.refused if kept else {**field.refused, "all": "the plan that forms are taken from has none for it"}
        found.append(replace(field, ladders=kept, refused=refused))
    return found


def spread(items: Sequence, count: int) -> list:
    """`count` of them, the first and the last among them, evenly spread; all where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[round(position * (len(items) - 1) / (count - 1))] for position in range(count)]


def _fewer(shape: tuple[int, ...], kept: int, filters: int) -> tuple[int, ...]:
    """The shape of a weight, OIHW or OI, when of all filters before the layer so many stay."""
    return shape[0], shape[1] * kept // filters, *shape[2:]


def _field(
    layer: Layer, multiple: int, metric: str, methods: Sequence[Method], weight: np.ndarray | None, readers: Readers | None
) -> Field:
    ladders, refused = {}, {}
    for method in methods:
        behind: tuple[Layer, ...] = ()
        refusal = method.check(layer)
        if refusal is None and method.name == PRUNE:
            found = Refusal("no channels can be taken out") if readers is None else readers(layer.name)
            if isinstance(found, Refusal):
                refusal = found
            else:
                behind = found
        if refusal is not None:
            refused[method.name] = refusal.reason
            continue
        step = math.lcm(multiple, block(layer.out_channels)) if method.name == PRUNE else multiple
        if method.name == PRUNE and step >= layer.out_channels:
            refused[method.name] = f"{layer.out_channels} filters: they go by {step}, and some have to stay"
            continue
        ladder = _ladder(method, layer, step, weight)
        candidates = (Candidate(layer, Choice(method.name, ranks, metric), behind) for ranks in ladder)
        kept = tuple(candidate for candidate in candidates if candidate.macs < layer.macs)
        if kept:
            ladders[method.name] = kept
        else:
            refused[method.name] = f"takes {method.macs(layer, ladder[0])} MACs at the least, the dense layer {layer.macs}"
    return Field(layer, ladders, refused)


def _ladder(method: Method, layer: Layer, multiple: int, weight: np.ndarray | None) -> list[tuple[int, ...]]:
    """Of the method, with the ranks that it suggests for the weight at their place."""
    ladder = method.ladder(layer, multiple, LADDER_STEPS)
    suggested = None if weight is None else method.suggested(weight)
    if suggested is None:
        return ladder
    return sorted({*ladder, method.rounded(layer, suggested, multiple, up=True)}, key=lambda ranks: (method.macs(layer, ranks), ranks))
