"""What layers read in a network that is factored layer by layer: the values before a layer are computed from those before the last one.

    images -> layer 1 -> ... -> layer 2 -> ... -> layer 3
              ^ kept           ^ kept, in its place

So a whole plan takes about one pass of the images through the network, and not one for each layer. Values are kept where they fit into
memory, and where all of them have an axis for images; elsewhere the next layer's are computed from further in front.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ...factorization import FactorChain
from ...frontends.reference.graph_activations import GraphActivations, reads
from ...passes.factorize_onnx import factorize_onnx
from ...support.input_set import Images, InputSet, by_name

HELD_BYTES = 2**30  # bytes of values that are kept; while the next ones are computed, twice as many


@dataclass(frozen=True)
class _Place:
    """The values before a node of the dense graph that it or a later one reads, for all images."""

    position: int
    values: Mapping[str, np.ndarray]


class PrefixValues:
    """Goes through a network from layer to layer.

    Parameters
    ----------
    model : onnx.ModelProto
        Dense, of any batch (`free_batch`) if it can be.
    images : ndarray or InputSet
    """

    def __init__(self, model: onnx.ModelProto, images: Images) -> None:
        self._model, self._count = model, len(images)
        self._positions = {node.name: number for number, node in enumerate(model.graph.node)}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        first = model.graph.input[0].type.tensor_type.shape.dim[0]
        self._batch = first.dim_value  # 0: free
        names = [value.name for value in model.graph.input]
        self._images = _Place(0, by_name(images, names))
        self._place = self._images

    def advance(self, layer: str, chains: Mapping[str, FactorChain]) -> None:
        """Go to a layer: those before it are factored as `chains` say."""
        position = self._positions[layer]
        if position < self._place.position:
            self._place = self._images
        wanted = self._live(position)
        if self._batch or position == self._place.position or not wanted:
            return
        runs = GraphActivations(self._between(position, chains), wanted)
        if not self._fits(runs, wanted):
            return
        found: dict[str, np.ndarray] = {}
        done = 0
        for values in runs.batches(InputSet(self._place.values)):
            count = len(values[wanted[0]])
            for name in wanted:
                if name not in found:
                    found[name] = np.empty((self._count, *values[name].shape[1:]), values[name].dtype)
                found[name][done : done + count] = values[name]
            done += count
        self._place = _Place(position, found)

    def inside(self, layer: str, chains: Mapping[str, FactorChain]) -> onnx.ModelProto:
        """The graph from where the values are kept to the end of a layer, with chains in the places of layers."""
        return self._between(self._positions[layer] + 1, chains)

    def batches(self, graph: onnx.ModelProto, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Values of such a graph, batch by batch, to the last image."""
        return GraphActivations(graph, names).batches(InputSet(self._place.values))

    def _fits(self, runs: GraphActivations, wanted: Sequence[str]) -> bool:
        """Whether the values can be kept: one image and two differ in the first size alone, and all together are not too large."""
        one, two = (next(runs.batches(InputSet(self._place.values)[:count], count)) for count in (1, 2))
        apart = all(one[name].shape[:1] == (1,) and two[name].shape == (2, *one[name].shape[1:]) for name in wanted)
        return apart and self._count * sum(one[name].nbytes for name in wanted) <= HELD_BYTES

    def _live(self, position: int) -> list[str]:
        """What nodes from a position on, or the caller, read of what is made before it."""
        nodes = self._model.graph.node
        made = {value.name for value in self._model.graph.input} | {name for node in nodes[:position] for name in node.output}
        read = {name for node in nodes[position:] for name in reads(node)} | {output.name for output in self._model.graph.output}
        return sorted((made & read) - {"", *self._constants})

    def _between(self, end: int, chains: Mapping[str, FactorChain]) -> onnx.ModelProto:
        """The nodes from where the values are kept to a position, as a model that reads these values."""
        nodes = self._model.graph.node[self._place.position : end]
        needed = {name for node in nodes for name in reads(node)}
        part = onnx.ModelProto(ir_version=self._model.ir_version, opset_import=self._model.opset_import, functions=self._model.functions)
        part.graph.name = self._model.graph.name
        part.graph.node.extend(nodes)
        for name, array in self._place.values.items():
            shape = [self._batch or "images", *array.shape[1:]]
            part.graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
        part.graph.initializer.extend(self._constants[name] for name in sorted(needed & self._constants.keys()))
        inside = {node.name for node in nodes}
        return factorize_onnx(part, {name: chain for name, chain in chains.items() if name in inside})
