"""The filters of a trained first layer as images: those of a flattened layer are the products of its lines.

Source: Jin et al. 2015, figure 4: filters of the first layer are reconstructed from the cross-products of the one-dimensional filters of
both sets, sorted by variance, the largest first; biases are left out.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..factorization import FactorChain, Stage
from ..support.errors import TenfoldError
from .canvas import panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = 1  # pixels between two filters
COLORS = 3  # channels of an image; of others each filter is drawn in grey, channel by channel added up
MIDDLE = 0.5  # brightness of 0


def first_chain(model: onnx.ModelProto) -> FactorChain:
    """The convolutions from the input on, with nothing between them, as one chain without biases.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised.

    Raises
    ------
    TenfoldError
        The network does not begin with a convolution.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    value, stages = model.graph.input[0].name, list[Stage]()
    while True:
        readers = [node for node in model.graph.node if value in node.input]
        if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].input[1] not in constants:
            break
        node = readers[0]
        weight = numpy_helper.to_array(constants[node.input[1]])
        if weight.ndim != 4:
            break
        facts = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        (sy, sx), (dy, dx) = facts.get("strides", (1, 1)), facts.get("dilations", (1, 1))
        stages.append(Stage(weight, stride=(sy, sx), dilation=(dy, dx), groups=facts.get("group", 1)))
        value = node.output[0]
    if not stages:
        raise TenfoldError("the network does not begin with a convolution of images: it has no first filters to show")
    return FactorChain(tuple(stages))


def by_variance(kernel: np.ndarray) -> np.ndarray:
    """The filters of a kernel, OIHW, the one that varies most first."""
    return kernel[np.argsort(-kernel.reshape(len(kernel), -1).var(axis=1), kind="stable")]


def mosaic(kernel: np.ndarray) -> np.ndarray:
    """Filters beside each other in rows of about as many: (height, width, 3), from 0 to 1; each filter has its own contrast.

    Parameters
    ----------
    kernel : ndarray, OIHW
    """
    pictures = kernel if kernel.shape[1] == COLORS else np.repeat(kernel.sum(axis=1, keepdims=True), COLORS, axis=1)
    count, _, height, width = pictures.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    result = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, COLORS))
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        reach = float(np.abs(picture).max()) or 1.0
        result[top : top + height, left : left + width] = MIDDLE + MIDDLE * picture.transpose(1, 2, 0) / reach
    return result


def draw(model: onnx.ModelProto) -> Figure:
    """Draw the filters; of a flattened layer also its lines, vertical ones upright.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised, and not simplified.
    """
    chain = first_chain(model)
    pictures = {"filters of the first layer": mosaic(by_variance(chain.reconstruct()))}
    for number, stage in enumerate(chain.stages):
        if 1 in stage.kernel and max(stage.kernel) > 1 and stage.weight.shape[1] == 1:
            direction = "vertical" if stage.kernel[1] == 1 else "horizontal"
            pictures[f"{direction}, stage {number + 1}"] = mosaic(by_variance(stage.weight))
    figure, axes = panels(len(pictures))
    for panel, (title, picture) in zip(axes, pictures.items(), strict=True):
        panel.imshow(picture, interpolation="nearest")
        panel.set(title=title, xticks=[], yticks=[])
    return figure
