"""How much each weight has to do with the mistakes that a network is about to make: the errors of the most dangerous ones, back-propagated.

Source: Denton et al. 2014, section 3.1, equations 1 and 2.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
import torch.nn.functional as F

from ...factorization import Layer
from ...support.errors import TenfoldError
from .torch_graph import TorchGraph

WRONG_LABELS = 3  # h: labels that are wrong and likeliest, of each image
BATCH = 16
LEAST_WEIGHT = 1e-3  # of the mean: a weight that no image reached is not free


def mahalanobis_weights(
    model: onnx.ModelProto,
    values: dict[str, tuple[str, str]],
    layers: Sequence[Layer],
    images: np.ndarray,
    labels: np.ndarray,
    mistakes: int = WRONG_LABELS,
) -> dict[str, np.ndarray]:
    """The weights alpha of the approximate Mahalanobis metric.

        d[n, l] = the gradient of the cross-entropy of image n with label l        alpha = sqrt(mean over n, l of d[n, l]^2)

    for the ``mistakes`` likeliest labels l of each image that are not its own.

    Parameters
    ----------
    model
        Of one input and any batch (`free_batch`); its first output are scores, or probabilities from a Softmax.
    values
        The names of the values that each layer reads and makes.
    layers
        Without groups.
    images, labels
        (N, ...) and (N,).

    Returns
    -------
    dict of str to ndarray
        By layer: OIHW or OI, float64, above 0.

    Raises
    ------
    TenfoldError
        The torch engine can't run the network, its output is not one score a class, or a label is not among them.
    """
    graph = TorchGraph(with_outputs(model, [scores_of(model), *(name for layer in layers for name in values[layer.name])]))
    totals = {layer.name: torch.zeros(layer.weight_shape, dtype=torch.float64) for layer in layers}
    count = 0
    for start in range(0, len(images), BATCH):
        x = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).requires_grad_()
        y = torch.from_numpy(np.asarray(labels[start : start + BATCH], np.int64))
        scores, *inside = graph(x)
        for wrong in _likeliest(scores.detach(), y, mistakes).T:
            loss = F.cross_entropy(scores, wrong, reduction="sum")
            errors = torch.autograd.grad(loss, inside[1::2], retain_graph=True)
            for layer, source, error in zip(layers, inside[::2], errors, strict=True):
                totals[layer.name] += _squared_gradients(layer, source.detach(), error, len(x))
            count += len(x)
    return {name: _alpha(total.numpy() / max(count, 1)) for name, total in totals.items()}


def _likeliest(scores: torch.Tensor, labels: torch.Tensor, mistakes: int) -> torch.Tensor:
    """(N, mistakes): the classes with the highest scores that are wrong."""
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise TenfoldError(f"labels need a network whose output is one score for each class, not of shape {list(scores.shape)}")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise TenfoldError(f"a label is not among the network's {scores.shape[1]} classes")
    wrong = scores.scatter(1, labels[:, None], -torch.inf)
    return wrong.topk(min(mistakes, scores.shape[1] - 1), dim=1).indices


def _squared_gradients(layer: Layer, x: torch.Tensor, error: torch.Tensor, images: int) -> torch.Tensor:
    """The sum over images of the squares of the gradient of each image, in the shape of the weight, float64."""
    if layer.kind == "dense":
        left, right = error.reshape(images, -1, layer.out_channels).transpose(1, 2), x.reshape(images, -1, layer.in_channels)
    else:
        top, up, bottom, down = layer.padding
        columns = F.unfold(F.pad(x, [up, down, top, bottom]), layer.kernel, layer.dilation, stride=layer.stride)
        left, right = error.flatten(2), columns.transpose(1, 2)
    if left.shape[2] == 1:  # one row: the square of a product is the product of the squares
        squares = left[:, :, 0].square().T @ right[:, 0].square()
    else:
        squares = (left @ right).square_().sum(0)
    return squares.double().reshape(layer.weight_shape)


def _alpha(squares: np.ndarray) -> np.ndarray:
    alpha = np.sqrt(squares)
    return np.maximum(alpha, LEAST_WEIGHT * alpha.mean()) if alpha.any() else np.ones_like(alpha)


def scores_of(model: onnx.ModelProto) -> str:
    """The first output of the network, before a Softmax if there is one."""
    output = model.graph.output[0].name
    node = next((node for node in model.graph.node if output in node.output), None)
    return node.input[0] if node is not None and node.op_type == "Softmax" else output


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The network with these values as its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy
