"""After the choice: layer by layer, chains are made to answer as the dense network does, on images without labels.

`bias`      the mean of every output channel is restored
`moments`   its mean and deviation are, which is what re-estimating the batch norm behind the layer would do; the frontends fold
            every batch norm into the layer before it, or into constants
`response`  the last stage and its bias are solved again by least squares (`factorization.response`)

Each layer is measured in the network as factored and corrected before it, so that it sees, and makes up for, the errors that reach it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import TenfoldError
from ..factorization import FactorChain, Layer, Stage
from ..factorization.plan_json import CORRECTIONS
from ..factorization.response import Responses, solve
from ..frontends import Network
from ..passes.chains import push_permutations
from ..passes.factorize_onnx import factorize_onnx
from .calibration import layer_values
from .free_batch import free_batch
from .inside import Inside
from .patches import Positions, patches, pixels

IMAGES = 4096  # of those given, evenly spaced: more do not make the estimates better than the layers can follow
SAMPLES = 32768  # pixels of a layer's output
TARGETS = 2**29  # bytes of dense outputs that are held at a time
LARGEST_GAIN = 2.0  # of a channel's deviation: what shrank more was lost, not scaled
Progress = Callable[[str], None]


def correct(
    network: Network,
    layers: Sequence[Layer],
    chains: dict[str, FactorChain],
    images: np.ndarray,
    kind: str,
    *,
    progress: Progress | None = None,
) -> dict[str, FactorChain]:
    """Correct factor chains, in the order of the network.

    Parameters
    ----------
    network
        Dense, of one input.
    layers
        Of the network, in order.
    chains
        By layer, without the layers' own biases, as `Plan.chains` gives them.
    images
        (N, ...), preprocessed; no labels are needed. At most 4096 of them are used.
    kind
        One of ``CORRECTIONS``.
    progress
        Told before each layer.

    Returns
    -------
    dict of str to FactorChain
        With new last stages and biases; the stages in front and all geometry stay.

    Raises
    ------
    TenfoldError
        An unknown kind, images that do not fit the network, or a chain that does not fit its layer.
    """
    if kind not in CORRECTIONS:
        raise TenfoldError(f"unknown correction {kind!r}: choose {', '.join(CORRECTIONS)}")
    if kind == "none" or not chains:
        return dict(chains)
    say = progress or (lambda step: None)
    images = images[np.unique(np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int))]
    model, batch = free_batch(network.onnx, images), network.inputs[0].shape[0]
    places = [_Place.of(model, layer, len(images), batch) for layer in layers if layer.name in chains]
    result = dict(chains)
    for number, (place, target) in enumerate(_targets(model, places, images), start=1):
        name = place.layer.name
        say(f"correcting {name}, layer {number} of {len(places)}")
        chain = push_permutations(chains[name])
        before = {other.layer.name: result[other.layer.name] for other in places[: number - 1]}
        small = factorize_onnx(model, {**before, name: chain})
        features = _features(small, place, chain, images)
        result[name] = _corrected(chain, Responses(features, target), place, kind)
    return result


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a layer is in the dense graph, and the pixels of its output that are looked at.

    Attributes
    ----------
    output
        The value that the layer makes.
    bias
        (F,): what the graph adds to a chain in the place of the layer.
    rectified
        A ReLU, and nothing else, reads the output.
    """

    layer: Layer
    output: str
    bias: np.ndarray
    rectified: bool
    at: Positions

    @classmethod
    def of(cls, model: onnx.ModelProto, layer: Layer, images: int, batch: int) -> _Place:
        output = layer_values(model, [layer])[layer.name][1]
        bias, rectified = _bias(model, layer), _rectified(model, output)
        return cls(layer, output, bias, rectified, Positions.draw(layer, images, SAMPLES, batch))


def _targets(model: onnx.ModelProto, places: list[_Place], images: np.ndarray) -> Iterator[tuple[_Place, np.ndarray]]:
    """Each place with the pixels of the dense layer's output; several from one pass over the images, as memory allows."""
    waiting = list(places)
    while waiting:
        held, size = [], 0
        while waiting and (not held or size + _bytes(waiting[0]) <= TARGETS):
            size += _bytes(waiting[0])
            held.append(waiting.pop(0))
        found = _sampled(model, images, [(place.output, lambda y, at: pixels(y, at), place.at) for place in held])
        yield from zip(held, found, strict=True)


def _bytes(place: _Place) -> int:
    return 4 * place.at.rows.size * place.layer.out_channels


def _features(small: onnx.ModelProto, place: _Place, chain: FactorChain, images: np.ndarray) -> np.ndarray:
    """What the last stage of the chain reads, in the factored network, at the pixels of the place."""
    stage = chain.stages[-1]
    shape = (stage.out_channels, stage.in_channels, *stage.kernel)
    if place.layer.kind == "dense":
        layer = replace(place.layer, weight_shape=shape[:2])
    else:
        geometry = {"stride": stage.stride, "padding": stage.padding, "dilation": stage.dilation}
        layer = Layer(place.layer.name, "conv2d", shape, output_size=place.layer.output_size, **geometry)
    source = _last_stage(small, place.output).input[0]
    return _sampled(small, images, [(source, lambda x, at: patches(layer, x, at), place.at)])[0]


def _sampled(model: onnx.ModelProto, images: np.ndarray, wanted: list[tuple[str, Callable, Positions]]) -> list[np.ndarray]:
    """For each value of the graph what a function takes from it, batch after batch."""
    parts, done = [[] for _ in wanted], 0
    for values in Inside(model, [name for name, _, _ in wanted]).batches(images):
        count = len(next(iter(values.values())))
        for part, (name, take, at) in zip(parts, wanted, strict=True):
            part.append(take(values[name], at[done : done + count]))
        done += count
    return [np.concatenate(part) for part in parts]


def _corrected(chain: FactorChain, data: Responses, place: _Place, kind: str) -> FactorChain:
    order = chain.permutation
    own = place.bias if order is None else place.bias[np.argsort(order)]
    targets = data.targets if order is None else data.targets[:, np.argsort(order)]
    last = chain.stages[-1]
    if kind == "response":
        now = own if last.bias is None else own + last.bias
        weight, bias = solve(last.weight, now, last.groups, Responses(data.features, targets), place.rectified)
    else:
        response = _response(last, data.features)
        gain = _gain(targets, response) if kind == "moments" else np.ones(last.out_channels)
        weight = last.weight * gain[:, None, None, None]
        bias = targets.mean(axis=0, dtype=np.float64) - gain * response.mean(axis=0, dtype=np.float64)
    stage = replace(last, weight=weight, bias=bias - own)
    return replace(chain, stages=(*chain.stages[:-1], stage))


def _response(stage: Stage, features: np.ndarray) -> np.ndarray:
    """What the stage answers without its bias: (n, F)."""
    rows = stage.weight.reshape(stage.groups, -1, stage.weight[0].size)
    columns = features.reshape(len(features), stage.groups, -1)
    return np.concatenate([columns[:, g] @ rows[g].T for g in range(stage.groups)], axis=1)


def _gain(targets: np.ndarray, response: np.ndarray) -> np.ndarray:
    """By how much each channel's deviation has to grow."""
    wanted, found = targets.std(axis=0, dtype=np.float64), response.std(axis=0, dtype=np.float64)
    ratio = np.divide(wanted, found, out=np.ones_like(found), where=found > 0)
    return np.clip(ratio, 1 / LARGEST_GAIN, LARGEST_GAIN)


def _last_stage(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    """The convolution or dense node of a chain that makes ``output``, behind a gather or the addition of a bias."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers[output]
    while node.op_type in ("Gather", "Add"):
        node = makers[node.input[0]]
    return node


def _bias(model: onnx.ModelProto, layer: Layer) -> np.ndarray:
    node = next(node for node in model.graph.node if node.name == layer.name)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(node.input) < 3 or node.input[2] not in constants:
        return np.zeros(layer.out_channels)
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    bias = numpy_helper.to_array(constants[node.input[2]]).astype(np.float64) * attributes.get("beta", 1.0)
    return np.broadcast_to(bias.reshape(-1), (layer.out_channels,))


def _rectified(model: onnx.ModelProto, value: str) -> bool:
    """Whether all that reads a value is a ReLU, or a max-pool with nothing but a ReLU behind it."""
    readers = [node for node in model.graph.node if value in node.input]
    if len(readers) != 1 or any(output.name == value for output in model.graph.output):
        return False
    return readers[0].op_type == "Relu" or (readers[0].op_type == "MaxPool" and _rectified(model, readers[0].output[0]))
