"""What quantization costs: noise of layers and outputs, and accuracy."""
from __future__ import annotations

from collections.abc import Mapping
from math import inf, log10

import numpy as np
import onnx

from ...frontends.reference.free_batch import free_batch
from ...frontends.reference.graph_activations import GraphActivations
from ...support.errors import TenfoldError
from ...support.input_set import Images
from ...support.progress import Progress
from ..data import Data


def signal_to_noise(
    plain: onnx.ModelProto, quantized: onnx.ModelProto, values: Mapping[str, str], images: Images, say: Progress
) -> dict[str, float]:
    """How much larger values are than what quantization changes them by, in dB: 10 log10(E[x^2] / E[(x - y)^2]).

    Parameters
    ----------
    plain, quantized : onnx.ModelProto
        The same network, in float32 and with quantizers.
    values : mapping of str to str
        Names of values in the one, and of the same values in the other.
    images : ndarray or InputSet
    say : Progress

    Returns
    -------
    dict of str to float
        By the names in `plain`; infinite where nothing differs.
    """
    signal, noise = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
    ours = GraphActivations(free_batch(plain, images), list(values))
    theirs = GraphActivations(free_batch(quantized, images), list(dict.fromkeys(values.values())))
    size, done = min(ours.batch_size(images), theirs.batch_size(images)), 0
    for found, rounded in zip(ours.batches(images, size), theirs.batches(images, size), strict=True):
        say("comparing layers", done, len(images))
        for value, other in values.items():
            x = found[value].astype(np.float64)
            signal[value] += float(np.square(x).sum())
            noise[value] += float(np.square(rounded[other] - x).sum())
        done += len(next(iter(found.values())))
    return {value: decibels(signal[value], noise[value]) for value in values}


def decibels(signal: float, noise: float) -> float:
    """The ratio of two powers."""
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal > 0 else -inf


def outputs(model: onnx.ModelProto, images: Images, say: Progress, what: str) -> list[np.ndarray]:
    """All outputs of a network on images, joined along their first axis.

    Parameters
    ----------
    model : onnx.ModelProto
    images : ndarray or InputSet
    say : Progress
    what : str
        That it is told.
    """
    names, done = [value.name for value in model.graph.output], 0
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for found in GraphActivations(free_batch(model, images), names).batches(images):
        say(what, done, len(images))
        for name in names:
            parts[name].append(found[name])
        done += len(found[names[0]])
    return [np.concatenate(parts[name]) for name in names]


def classes_of(model: onnx.ModelProto) -> int:
    """The classes that a network's only output scores; 0 for a network that is no such classifier."""
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.output]
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    if len(shapes) != 1 or not shapes[0] or shapes[0][0] != batch:
        return 0
    classes = int(np.prod(shapes[0][1:]))
    one_score = classes > 1 and classes in shapes[0][1:]  # of a segmenter each pixel has scores
    return classes if one_score and model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT else 0


def check_labels(data: Data, model: onnx.ModelProto) -> None:
    """Raise TenfoldError where there are labels that can't be those of the classifier."""
    classes = classes_of(model)
    if data.y is None or not classes:
        return
    if data.y.dtype.kind not in "iu":
        raise TenfoldError(f"{data.name}: y has dtype {data.y.dtype}: labels are whole numbers")
    if len(data.y) and not 0 <= data.y.min() <= data.y.max() < classes:
        raise TenfoldError(f"{data.name}: y goes from {data.y.min()} to {data.y.max()}: the network has classes 0 to {classes - 1}")


def likeliest(scores: np.ndarray) -> np.ndarray:
    """The class of each image."""
    return scores.reshape(len(scores), -1).argmax(axis=1)
