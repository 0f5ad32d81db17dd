"""One pass over calibration images: what each layer's input looks like, in bounded memory."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod

import numpy as np
import onnx

from ...factorization import Layer, Statistics
from ...factorization.moments import Moments
from ...factorization.patches import Positions, patches
from ...frontends import Network
from ...frontends.reference.free_batch import free_batch
from ...frontends.reference.graph_activations import GraphActivations
from ...support.errors import TenfoldError
from ...support.input_set import Images, InputSet
from ...support.progress import Progress, reporter

PATCHES_PER_DIMENSION = 16  # for each dimension of a layer's patches, so that their second moments hold more than noise
MIN_PATCHES = 32768  # of any layer
GRADIENT_IMAGES = 256  # images whose mistakes are back-propagated
MAX_WIDTH = 8192  # dimensions: beyond them the moments of one layer alone would take 512 MiB


@dataclass(frozen=True)
class Calibration:
    """What calibration images say of a network.

    Attributes
    ----------
    statistics : dict of str to Statistics
        By the names of layers. A layer whose patches have more than 8192 dimensions has none.
    sha256 : str
        Of the images (`digest`).
    images : int
        How many they were.
    """

    statistics: dict[str, Statistics]
    sha256: str
    images: int


def calibrate(
    network: Network, layers: Sequence[Layer], images: Images, labels: np.ndarray | None = None, *, progress: Progress | None = None
) -> Calibration:
    """Collect the statistics of the layers that can be factored.

    Images pass through ONNX Runtime in batches. Of each image some positions are drawn for each layer, about 16 patches in all for
    each dimension that they have; their moments are summed up at once and the activations forgotten.

    Parameters
    ----------
    network
        Dense.
    layers
        Of the network; those with a reason are passed over.
    images
        (N, ...), preprocessed, as the network takes them.
    labels
        (N,): with them, `Statistics.alpha` is found too, which needs PyTorch.
    progress
        Told about ten times what is being done.

    Raises
    ------
    TenfoldError
        The images do not fit the network, are all alike, or ONNX Runtime can't run it.
    """
    say = reporter(progress)
    if len(images) and all((array == array[0]).all() for array in (images.arrays.values() if isinstance(images, InputSet) else [images])):
        raise TenfoldError("x: all images are the same one: there is nothing to calibrate with")
    chosen = [layer for layer in layers if layer.reason is None and layer.groups == 1 and _width(layer) <= MAX_WIDTH]
    model = free_batch(network.onnx, images)
    inputs = layer_values(model, chosen)
    batch = network.inputs[0].shape[0]
    moments = {layer.name: Moments(_width(layer)) for layer in chosen}
    counts = {layer.name: max(PATCHES_PER_DIMENSION * _width(layer), MIN_PATCHES) for layer in chosen}
    drawn = {layer.name: Positions.draw(layer, len(images), counts[layer.name], batch) for layer in chosen}
    done = 0
    for values in GraphActivations(model, [inputs[layer.name][0] for layer in chosen]).batches(images):
        count = len(next(iter(values.values()))) if values else 0
        say("collecting statistics of the layers' inputs", done, len(images))
        for layer in chosen:
            source, _, flip = inputs[layer.name]
            x = values[source].T if flip else values[source]
            moments[layer.name].add(patches(layer, x, drawn[layer.name][done : done + count]))
        done += count
    alphas = _alphas(model, chosen, images, labels, say) if labels is not None else {}
    statistics = {name: Statistics(m.count, m.mean, m.moment(), alphas.get(name)) for name, m in moments.items()}
    return Calibration(statistics, digest(images), len(images))


def digest(images: Images) -> str:
    """SHA-256, in hex, of the images: their shape, type and values, and of several inputs their names."""
    if isinstance(images, InputSet):
        return hashlib.sha256(" ".join(f"{name} {digest(images.arrays[name])}" for name in sorted(images.arrays)).encode()).hexdigest()
    sha256 = hashlib.sha256(f"{images.dtype.str} {images.shape}".encode())
    sha256.update(np.ascontiguousarray(images).data)
    return sha256.hexdigest()


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of `count` images, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def layer_values(model: onnx.ModelProto, layers: Sequence[Layer]) -> dict[str, tuple[str, str, bool]]:
    """For each layer the values that it reads and makes, and whether it reads its input transposed.

    Raises
    ------
    TenfoldError
        A layer is not in the graph.
    """
    nodes = {node.name: node for node in model.graph.node}
    found = {}
    for layer in layers:
        if layer.name not in nodes:
            raise TenfoldError(f"there is no layer {layer.name!r} in the network")
        node = nodes[layer.name]
        flip = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
        found[layer.name] = (node.input[0], node.output[0], flip)
    return found


def _width(layer: Layer) -> int:
    return prod(layer.weight_shape[1:])


def _alphas(
    model: onnx.ModelProto, layers: Sequence[Layer], images: Images, labels: np.ndarray, say: Progress
) -> dict[str, np.ndarray]:
    """The weights of the Mahalanobis metric from a part of the images; none where PyTorch is not installed."""
    if len(labels) != len(images):
        raise TenfoldError(f"there are {len(images)} images and {len(labels)} labels")
    if find_spec("torch") is None or isinstance(images, InputSet):
        return {}
    from ...frontends.reference.error_gradients import mahalanobis_weights  # torch is an extra

    some = evenly_spaced(len(images), GRADIENT_IMAGES)
    say(f"back-propagating the likeliest mistakes of {len(some)} images")
    values = {name: pair[:2] for name, pair in layer_values(model, layers).items()}
    return mahalanobis_weights(model, values, layers, images[some], np.asarray(labels)[some])
