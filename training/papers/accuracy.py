"""The accuracy of a network that is a file."""
from __future__ import annotations

import numpy as np
import onnx

from ...frontends.reference.graph_activations import GraphActivations


def accuracy(model: onnx.ModelProto, x: np.ndarray, y: np.ndarray) -> float:
    """The fraction of the images that it gets right.

    Parameters
    ----------
    model : onnx.ModelProto
        A classifier for any batch (`free_batch`).
    x, y : ndarray
        Images as it takes them, labels.
    """
    output = model.graph.output[0].name
    scores = np.concatenate([values[output] for values in GraphActivations(model, [output]).batches(x)])
    return float((scores.reshape(len(x), -1).argmax(axis=1) == y).mean())
