"""Where a layer stands in its network: what the dense layer answers there, and what a chain in its place reads."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...factorization import FactorChain, Layer, Stage
from ...factorization.patches import Pool, Positions, patches, pixels
from ...frontends.reference.graph_activations import GraphActivations
from ...support.input_set import Images
from .moments import layer_values
from .prefix_values import PrefixValues

MIN_PIXELS = 16384  # pixels of a layer's output at the least
PATCHES_PER_DIMENSION = 5  # at the least, for each dimension of a layer's patches
WINDOW_FACTOR = 2  # times as many pixels where they come in windows: those of one say less than as many apart
MAX_WINDOW = 16  # pixels: of larger ones each image would give too many
ANSWER_BYTES = 2**29  # bytes of answers that are held at a time


@dataclass(frozen=True, eq=False)
class LayerSite:
    """One layer in the dense graph, and the pixels of its output that are looked at.

    Attributes
    ----------
    layer : Layer
    input, output : str
        The values that the layer, or the chain in its place, reads and makes.
    transposed : bool
        It reads its input transposed.
    bias : ndarray
        (F,): what the graph adds to a chain in the place of the layer.
    rectified : bool
        A ReLU, and nothing else, reads the output.
    pool : Pool or None
        A max-pooling, and nothing else, reads what the ReLU lets through, or stands before it.
    at : Positions
        Of a pooled output whole windows.
    """

    layer: Layer
    input: str
    output: str
    transposed: bool
    bias: np.ndarray
    rectified: bool
    pool: Pool | None
    at: Positions

    @classmethod
    def of(cls, model: onnx.ModelProto, layer: Layer, images: int, batch: int) -> LayerSite:
        """For so many images; ``batch``: the images of one run that the layer was listed for."""
        source, output, transposed = layer_values(model, [layer])[layer.name]
        rectified, pool = _behind(model, output) if layer.kind == "conv2d" else (_behind(model, output)[0], None)
        if pool is not None and not all(pool.windows(layer.output_size)):
            pool = None
        samples = max(MIN_PIXELS, PATCHES_PER_DIMENSION * prod(layer.weight_shape[1:]))
        if pool is None:
            at = Positions.draw(layer, images, samples, batch)
        else:
            at = Positions.draw_windows(layer, images, WINDOW_FACTOR * samples // pool.window, pool)
        return cls(layer, source, output, transposed, layer_bias(model, layer), rectified, pool, at)

    def features(self, before: PrefixValues, done: Mapping[str, FactorChain], chain: FactorChain) -> np.ndarray:
        """What the last stage of a chain in the layer's place reads there, behind the chains that are done: (n, I Y X), of all groups."""
        graph = before.inside(self.layer.name, {**done, self.layer.name: chain})
        source, layer = _last_stage(graph, self.output).input[0], _as_layer(self.layer, chain.stages[-1])
        found = walk(before.batches(graph, [source]), [self.at])
        return np.concatenate([patches(layer, values[source], at[0]) for values, at in found])

    def inputs(self, before: PrefixValues, done: Mapping[str, FactorChain]) -> Iterator[np.ndarray]:
        """What the layer itself would read there, batch by batch: (n, C Y X)."""
        for values, at in walk(before.batches(before.inside(self.layer.name, done), [self.input]), [self.at]):
            x = values[self.input]
            yield patches(self.layer, x.T if self.transposed else x, at[0])


def answers(model: onnx.ModelProto, sites: Sequence[LayerSite], images: Images) -> Iterator[tuple[LayerSite, np.ndarray]]:
    """Each site with what the dense layer answers there, (n, F); of several sites from one pass, as memory allows."""
    waiting = list(sites)
    while waiting:
        held: list[LayerSite] = []
        size = 0
        while waiting and (not held or size + _bytes(waiting[0]) <= ANSWER_BYTES):
            size += _bytes(waiting[0])
            held.append(waiting.pop(0))
        parts: list[list[np.ndarray]] = [[] for _ in held]
        found = GraphActivations(model, [site.output for site in held]).batches(images)
        for values, positions in walk(found, [site.at for site in held]):
            for part, site, at in zip(parts, held, positions, strict=True):
                part.append(pixels(values[site.output], at))
        yield from zip(held, map(np.concatenate, parts), strict=True)


def walk(
    batches: Iterable[dict[str, np.ndarray]], positions: Sequence[Positions]
) -> Iterator[tuple[dict[str, np.ndarray], list[Positions]]]:
    """Values of a graph batch by batch, each with the positions that belong to its images."""
    done = 0
    for found in batches:
        count = len(next(iter(found.values())))
        yield found, [at[done : done + count] for at in positions]
        done += count


def _bytes(site: LayerSite) -> int:
    return 4 * site.at.rows.size * site.layer.out_channels


def _as_layer(layer: Layer, stage: Stage) -> Layer:
    """The stage, without its groups, as a layer whose patches can be taken."""
    shape = (stage.out_channels, stage.in_channels, *stage.kernel)
    if layer.kind == "dense":
        return replace(layer, weight_shape=shape[:2])
    return Layer(layer.name, "conv2d", shape, stage.stride, stage.padding, stage.dilation, output_size=layer.output_size)


def _last_stage(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    """The convolution or dense node of a chain that makes ``output``, behind a gather or the addition of a bias."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers[output]
    while node.op_type in ("Gather", "Add"):
        node = makers[node.input[0]]
    return node


def layer_bias(model: onnx.ModelProto, layer: Layer) -> np.ndarray:
    """What the graph adds to a chain in the place of a layer, (F,): its bias, zeros where it has none, or none that is constant."""
    node = next(node for node in model.graph.node if node.name == layer.name)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(node.input) < 3 or node.input[2] not in constants:
        return np.zeros(layer.out_channels)
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    bias = numpy_helper.to_array(constants[node.input[2]]).astype(np.float64) * attributes.get("beta", 1.0)
    return np.broadcast_to(bias.reshape(-1), (layer.out_channels,))


def _behind(model: onnx.ModelProto, value: str) -> tuple[bool, Pool | None]:
    """Whether all that reads a value is a ReLU; and the max-pooling, if there is one behind it, or between them."""
    first = _only_reader(model, value)
    second = None if first is None else _only_reader(model, first.output[0])
    if first is not None and second is not None:
        if (first.op_type, second.op_type) == ("Relu", "MaxPool"):
            return True, _pool(second)
        if (first.op_type, second.op_type) == ("MaxPool", "Relu"):
            return True, _pool(first)
    return first is not None and first.op_type == "Relu", None


def _only_reader(model: onnx.ModelProto, value: str) -> onnx.NodeProto | None:
    readers = [node for node in model.graph.node if value in node.input]
    return readers[0] if len(readers) == 1 and all(output.name != value for output in model.graph.output) else None


def _pool(node: onnx.NodeProto) -> Pool | None:
    """None for one that is too large, or not said in numbers."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel, ones = attributes["kernel_shape"], [1, 1]
    if len(kernel) != 2 or prod(kernel) > MAX_WINDOW or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    geometry = attributes.get("strides", ones), attributes.get("pads", [0, 0])[:2], attributes.get("dilations", ones)
    return Pool(tuple(kernel), *map(tuple, geometry))
