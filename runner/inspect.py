"""What a network consists of: every convolution and dense layer, what it costs, and which factored forms apply."""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .build import require_compiler
from .network_facts import count_params, total_macs

if TYPE_CHECKING:
    from ..factorization.layer import Layer
    from ..frontends import Network


@dataclass(frozen=True)
class LayerReport:
    """One layer: its geometry and cost, and what can be done with it.

    Attributes
    ----------
    layer : Layer
        Name, kind, weight shape, stride, padding, dilation, groups, sizes.
    share : float
        Its MACs as a fraction of those of all layers.
    methods : tuple of str
        The factored forms that apply.
    reason : str or None
        Why none applies.
    """

    layer: Layer
    share: float
    methods: tuple[str, ...]
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        cost = {"macs": self.layer.macs, "params": self.layer.params, "share": self.share}
        return {**asdict(self.layer), **cost, "methods": list(self.methods), "reason": self.reason}


@dataclass(frozen=True)
class Inspection:
    """A network's layers in the order in which they run, and its totals. Iterating gives the layers.

    Attributes
    ----------
    model, sha256 : str
    inputs, outputs : list of TensorSpec
    layers : tuple of LayerReport
    macs : int
        Of the layers, in one run.
    params : int
        All floating-point constants of the network, so biases too.
    simplified : Simplified or None
        What exact rewrites merged before; None where they were not to.
    """

    model: str
    sha256: str
    inputs: list[Any]
    outputs: list[Any]
    layers: tuple[LayerReport, ...]
    macs: int
    params: int
    simplified: Any = None

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        ports = {key: [asdict(spec) for spec in getattr(self, key)] for key in ("inputs", "outputs")}
        head = {"model": self.model, "sha256": self.sha256, **ports, "macs": self.macs, "params": self.params}
        head["simplified"] = None if self.simplified is None else self.simplified.to_dict()
        return {**head, "layers": [layer.to_dict() for layer in self.layers]}

    def to_json(self) -> str:
        """Indented."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


def inspect(model: Any, **reading: Any) -> Inspection:
    """List the convolutions and dense layers of a network.

    Parameters
    ----------
    model
        As of `compile`. What an artifact folder holds, `runner.inspect_artifact` says.
    **reading
        How to read it: the attributes of `frontends.Reading`, by name.

    Raises
    ------
    TenfoldError
        If the network can't be read.
    """
    from ..frontends import Reading
    from ..passes.simplify.network import load

    Reading.of("inspect", reading)
    require_compiler()
    return inspect_network(load(model, **reading))


def inspect_network(network: Network) -> Inspection:
    """`inspect` for a network that is read already."""
    from ..passes.inventory import applicable, inventory, steps_joined

    layers = steps_joined(inventory(network.mod))
    macs = total_macs(layers)
    reports = tuple(LayerReport(layer, layer.macs / macs if macs else 0.0, tuple(applicable(layer)[0]), layer.reason) for layer in layers)
    params = count_params(network.onnx)
    return Inspection(network.name, network.sha256, network.inputs, network.outputs, reports, macs, params, network.simplified)
