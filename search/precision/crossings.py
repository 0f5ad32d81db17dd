"""Where bytes and float32 may meet: which layers read what others make, and how many numbers pass there.

Between two layers on bytes lie bytes, through pools, sums, concatenations and whatever only moves values. What else stands before a layer,
such as the input of the network, is of float32: a layer on bytes behind it always pays for the conversion.
"""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

import onnx

from ...passes.quantize.graph import Graph, inferred
from ...passes.quantize.placement import OWN_STEP, SAME_STEP, SATURATING
from ...passes.quantize.prepare import prepare

BETWEEN = frozenset({*OWN_STEP, *SAME_STEP, *SATURATING})
SEVERAL = ("Add", "Concat")  # all inputs of these are activations; of others the first one


@dataclass(frozen=True)
class Crossing:
    """Two layers, the one a reader of what the other makes.

    Attributes
    ----------
    source, reader : str
    to_bytes, to_float : int
        Numbers that are converted where only the reader is on bytes, and where only the source is.
    """

    source: str
    reader: str
    to_bytes: int
    to_float: int


@dataclass(frozen=True)
class Crossings:
    """Of one network.

    Attributes
    ----------
    between : tuple of Crossing
        In the order of the readers.
    entries : dict of str to int
        For each layer that reads something else than layers, the numbers that it reads.
    """

    between: tuple[Crossing, ...]
    entries: dict[str, int]


def find_crossings(model: onnx.ModelProto, layers: Collection[str]) -> Crossings:
    """Look for them.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised, in float32.
    layers : collection of str
        Names of nodes.
    """
    graph = Graph(inferred(prepare(model)))
    between: list[Crossing] = []
    entries: dict[str, int] = {}
    for node in graph.nodes:
        if node.name not in layers:
            continue
        numbers = _size(graph, node.input[0])
        sources, other = _sources(graph, node.input[0], layers)
        between += [Crossing(source, node.name, numbers, size) for source, size in sources.items()]
        if other:
            entries[node.name] = numbers
    return Crossings(tuple(between), entries)


def _sources(graph: Graph, value: str, layers: Collection[str]) -> tuple[dict[str, int], bool]:
    """The layers that a value comes from, with the numbers that they make; and whether it comes from anything else."""
    found: dict[str, int] = {}
    other, waiting, seen = False, [value], {value}
    while waiting:
        name = waiting.pop()
        maker = graph.makers.get(name)
        if maker is not None and maker.name in layers:
            found[maker.name] = _size(graph, name)
        elif maker is not None and maker.op_type in BETWEEN:
            inputs = list(maker.input) if maker.op_type in SEVERAL else list(maker.input[:1])
            waiting += [each for each in inputs if each not in seen and graph.constant(each) is None]
            seen.update(inputs)
        else:
            other = True
    return found, other


def _size(graph: Graph, name: str) -> int:
    """Numbers of a value; 0 where its shape is not known."""
    return prod(graph.shape(name) or (0,))
