"""The plan: for each layer of one network a method and ranks, readable and editable as JSON."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..support.errors import Refusal, TenfoldError
from ..support.files.json_text import decode_text
from ..support.files.regular import read_regular
from ..support.files.whole import write_text
from ..support.progress import Progress, reporter
from .chain import FactorChain
from .choice import Choice, choose_by_energy, minor_layers
from .layer import Layer
from .metrics import FROBENIUS
from .plan_json import check_names, decode, encode
from .registry import AUTO, METHODS, method_name
from .statistics import Statistics

_NO_WEIGHT = np.zeros(0, np.float32)  # stands for the weight of a layer that no method factors


@dataclass(frozen=True)
class Plan:
    """What is done to the layers of one network.

    Parameters
    ----------
    model
        SHA-256 of the network, hexadecimal.
    target
        Name of the target that the plan was made for.
    layers
        A choice for each layer that is factored, in the order of the network.
    refused
        Why each of the others is not. For the reader only: an entry in ``layers`` counts, whatever is said here.
    data
        SHA-256 of the calibration images, hexadecimal; None for a plan that needs none.
    correction
        What is done to the chains with these images: a name in ``plan_json.CORRECTIONS``.
    precision
        ``int8`` for each layer that is computed on bytes, whole or with all stages of its chain; the others are of float32. Steps are
        calibrated with these images too, after the correction.
    """

    model: str
    target: str
    layers: dict[str, Choice] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    data: str | None = None
    correction: str = "none"
    precision: dict[str, str] = field(default_factory=dict)

    @classmethod
    def by_energy(
        cls,
        layers: Iterable[Layer],
        weights: Mapping[str, np.ndarray],
        model_hash: str,
        target_name: str,
        method: str,
        energy: float,
        multiple: int = 1,
        progress: Progress | None = None,
    ) -> Plan:
        """Keep the same part of the energy of every layer.

        Parameters
        ----------
        layers
            Of the network, in order.
        weights
            OIHW or OI by the name of the layer; those of layers that no method applies to may be missing.
        model_hash, target_name
            As ``model`` and ``target`` of the plan.
        method
            A name in ``METHODS``, which leaves the layers of other kinds alone, or ``"auto"``: for each layer the method whose
            chain has the fewest MACs; layers that are too small a part of the network to matter are refused (`minor_layers`).
        energy
            The part of the squared Frobenius norm of each weight that the ranks keep, in (0, 1].
        multiple
            Ranks are rounded up to it, but not above the highest; down where rounding up would cost all that the chain saves.
        progress
            A callable, told of each layer.

        Raises
        ------
        TenfoldError
            For an unknown method, an energy or a multiple out of range, or a weight that is missing or does not fit its layer.
        """
        method = method if method == AUTO else method_name(method)
        if not 0 < energy <= 1:
            raise TenfoldError(f"energy {energy} is out of range: it must be above 0 and at most 1")
        if multiple < 1:
            raise TenfoldError(f"multiple {multiple} is out of range: ranks are rounded to a multiple of at least 1")
        plan, layers, say = cls(model_hash, target_name), list(layers), reporter(progress)
        minor = minor_layers(layers) if method == AUTO else {}
        for number, layer in enumerate(layers):
            say(f"choosing the ranks of {layer.name}", number, len(layers))
            methods = [METHODS[method]] if method != AUTO else [m for m in METHODS.values() if m.kind == layer.kind and m.spectral]
            if layer.name not in weights and any(m.check(layer) is None for m in methods):
                raise TenfoldError(f"layer {layer.name!r}: its weight is missing")
            try:
                choice = choose_by_energy(layer, weights.get(layer.name, _NO_WEIGHT), methods, energy, multiple)
            except ValueError as error:
                raise TenfoldError(f"layer {layer.name!r}: {error}") from error
            if isinstance(choice, Choice):
                choice = minor.get(layer.name, choice)
            if isinstance(choice, Refusal):
                plan.refused[layer.name] = choice.reason
            else:
                plan.layers[layer.name] = choice
        return plan

    def check(self, layers: Iterable[Layer], model_hash: str) -> None:
        """TenfoldError unless the plan can be carried out on these layers of the network with this hash.

        It says which layer is unknown, has an unknown method, a method that does not apply, or a rank out of range, or that
        the plan was made for another model.
        """
        if self.model != model_hash:
            made_for, this = self.model[:12], model_hash[:12]
            raise TenfoldError(f"the plan was made for model {made_for!r}, this is model {this!r}: make a plan for this one")
        layers = list(layers)
        self._matched(layers)
        for name in self.precision.keys() - {layer.name for layer in layers}:
            raise TenfoldError(f"layer {name!r} of the plan's precision is not in the model: remove it from the plan")

    def chains(
        self, layers: Iterable[Layer], weights: Mapping[str, np.ndarray], statistics: Mapping[str, Statistics] | None = None
    ) -> dict[str, FactorChain]:
        """The chain of every layer in the plan, without the layer's bias, in the order of the plan.

        Parameters
        ----------
        layers
            Of the network.
        weights
            OIHW or OI by the name of the layer. They are only read.
        statistics
            Of the data that each layer sees; for layers whose metric is not Frobenius.

        Raises
        ------
        TenfoldError
            As `check`, except for the model; for a weight that is missing, does not fit its layer, or is not finite; for a metric
            whose statistics are missing; and for a plan with a correction, without which its chains are others.
        """
        if self.correction != "none":
            raise TenfoldError("the plan corrects its chains with data: let compress --plan carry it out with the same --data")
        statistics, chains = statistics or {}, {}
        for layer, choice in self._matched(layers):
            if layer.name not in weights:
                raise TenfoldError(f"layer {layer.name!r}: its weight is missing")
            if choice.metric != "frobenius" and layer.name not in statistics:
                raise TenfoldError(f"layer {layer.name!r}: metric {choice.metric} needs the data that the plan was made with")
            try:
                metric = statistics[layer.name].metric(choice.metric) if choice.metric != "frobenius" else FROBENIUS
                chains[layer.name] = METHODS[choice.method].factorize(weights[layer.name], layer, choice.ranks, metric=metric)
            except ValueError as error:
                raise TenfoldError(f"layer {layer.name!r}: {error}") from error
        return chains

    def to_json(self) -> str:
        """Indented, the layers in the order of the network, one to a line."""
        return encode(self.model, self.target, self.layers, self.refused, self.data, self.correction, self.precision)

    @classmethod
    def from_json(cls, text: str, source: str = "plan") -> Plan:
        """Read what `to_json` wrote and a user may have edited.

        Parameters
        ----------
        text
            JSON.
        source
            What errors call it, for example its path.

        Raises
        ------
        TenfoldError
            For malformed JSON, another version, a field that is unknown, missing or of the wrong type, an unknown method or metric.
        """
        return cls(**decode(text, source))

    @classmethod
    def read(cls, path: str | os.PathLike) -> Plan:
        """Read a file; TenfoldError, naming it, if it can't be read or is not a plan."""
        text = decode_text(read_regular(path), os.fspath(path))
        return cls.from_json(text, os.fspath(path))

    def write(self, path: str | os.PathLike) -> None:
        """Write a file, whole or not at all; TenfoldError, naming it, if it can't be written."""
        write_text(path, self.to_json())

    def _matched(self, layers: Iterable[Layer]) -> list[tuple[Layer, Choice]]:
        """Pairs of a layer of the plan and its choice, both checked."""
        known = {layer.name: layer for layer in layers}
        matched = []
        for name, choice in self.layers.items():
            where = f"layer {name!r}"
            if name not in known:
                raise TenfoldError(f"{where} of the plan is not in the model: remove it from the plan")
            check_names(choice, where)
            method = METHODS[choice.method]
            refusal = method.check(known[name])
            if refusal is not None:
                raise TenfoldError(f"{where}: method {choice.method} does not apply: {refusal.reason}")
            try:
                method.checked_ranks(known[name], choice.ranks)
            except ValueError as error:
                raise TenfoldError(f"{where}: {error}") from error
            matched.append((known[name], choice))
        return matched
