"""A network whose weights have few values, so that they can be kept as indices: `quantization.clustering` on each layer."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...quantization.clustering import CLUSTERINGS, FEWEST_BITS, MOST_BITS, cluster
from ...support.errors import TenfoldError
from ...support.progress import Progress
from ..data import Data

if TYPE_CHECKING:
    from ...frontends import Network


@dataclass(frozen=True)
class Clustering:
    """How weights are made few.

    Attributes
    ----------
    bits : int
        Of an index.
    method : str
        Of `quantization.clustering.CLUSTERINGS`.
    """

    bits: int
    method: str = CLUSTERINGS[0]

    @classmethod
    def parse(cls, text: str) -> Clustering:
        """From ``"5"``, ``"5:kmeans"`` or ``"5:round"``; TenfoldError for anything else."""
        match = re.fullmatch(r"(\d+)(?::(\w+))?", text)
        if match is None or not FEWEST_BITS <= int(match[1]) <= MOST_BITS or match[2] not in (None, *CLUSTERINGS):
            words = f"BITS from {FEWEST_BITS} to {MOST_BITS}, then maybe :{' or :'.join(CLUSTERINGS)}"
            raise TenfoldError(f"size {text!r}: give {words}, as 5:{CLUSTERINGS[0]}")
        return cls(int(match[1]), match[2] or CLUSTERINGS[0])


def clustered(network: Network, how: Clustering, data: Data | None, say: Progress) -> Network:
    """The network with the weights of its layers made few, read as a file of it would be.

    Parameters
    ----------
    network : Network
    how : Clustering
    data : Data or None
        That fits it; with labels of a classifier the accuracy is told.
    say : Progress

    Returns
    -------
    Network
        `Network.clustered` is what a manifest says of it.
    """
    from ...frontends import load
    from ...passes.quantize.graph import Graph
    from ...passes.quantize.layers import LAYERS
    from .judge import check_labels, classes_of, likeliest, outputs

    if data is not None:
        check_labels(data, network.onnx)
    graph = Graph(network.onnx)
    names = list(dict.fromkeys(node.input[1] for node in graph.nodes if node.op_type in LAYERS))
    lost = total = 0.0
    numbers = layers = 0
    for position, name in enumerate(names):
        say("clustering weights", position, len(names))
        weight = graph.constant(name)
        if weight is None or weight.dtype != np.float32 or not np.isfinite(weight).all():
            continue
        few = cluster(weight, how.bits, how.method)
        lost += float(np.square(few - weight, dtype=np.float64).sum())
        total += float(np.square(weight, dtype=np.float64).sum())
        numbers, layers = numbers + weight.size, layers + 1
        graph.set_constant(name, few)
    if not layers:
        raise TenfoldError(f"{network.name}: it has no weights of float32 to make smaller")
    facts: dict[str, Any] = {"bits": how.bits, "method": how.method, "layers": layers, "numbers": numbers,
                             "weight_error": (lost / total) ** 0.5 if total else 0.0}  # fmt: skip
    for key, model in (("accuracy_before", network.onnx), ("accuracy", graph.model)):
        facts[key] = None
        if data is not None and data.y is not None and classes_of(model):
            (scores,) = outputs(model, data.x, say, "measuring the accuracy")
            facts[key] = float((likeliest(scores) == data.y).mean())
    found = load(graph.model)
    found.name, found.simplified, found.clustered = network.name, network.simplified, facts
    return found
