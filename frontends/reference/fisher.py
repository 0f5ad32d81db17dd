"""How much a network's answer changes with what a layer gives: the Fisher information of the layer's output channels.

    F[a, b] = mean over images and pixels of g_a g_b        g = gradient of -log p(l), label l drawn from the network's own probabilities p

To second order an error e of the output moves the network's probabilities by e^T F e / 2 nats of Kullback-Leibler divergence, were errors
of different pixels independent.

Source: Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature" (2015), section 2.1; their factor G.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
import torch.nn.functional as F

from ...support.errors import TenfoldError
from .error_gradients import scores_of, with_outputs
from .torch_graph import TorchGraph

BATCH = 16
SEED = 2015


def runs(model: onnx.ModelProto) -> bool:
    """Whether PyTorch has all operators of a network."""
    try:
        TorchGraph(model)
    except TenfoldError:
        return False
    return True


def output_fisher(model: onnx.ModelProto, outputs: Mapping[str, str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The Fisher information of layers' outputs.

    Parameters
    ----------
    model
        Of one input and any batch (`free_batch`); its first output are scores, or probabilities from a Softmax.
    outputs
        The name of the value that each layer makes, by layer: NCHW, or (..., F).
    images
        (N, ...), without labels.

    Returns
    -------
    dict of str to ndarray
        By layer: (F, F), float64, symmetric, not negative.

    Raises
    ------
    TenfoldError
        The torch engine can't run the network.
    """
    graph = TorchGraph(with_outputs(model, [scores_of(model), *outputs.values()]))
    totals: dict[str, np.ndarray] = dict.fromkeys(outputs, np.zeros(()))
    counts = dict.fromkeys(outputs, 0)
    generator = torch.Generator().manual_seed(SEED)
    for start in range(0, len(images), BATCH):
        x = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).requires_grad_()
        scores, *inside = graph(x)
        scores = scores.reshape(len(x), -1)
        drawn = torch.multinomial(scores.detach().softmax(1), 1, generator=generator)[:, 0]
        gradients = torch.autograd.grad(F.cross_entropy(scores, drawn, reduction="sum"), inside)
        for name, gradient in zip(outputs, gradients, strict=True):
            rows = gradient.movedim(1, -1) if gradient.ndim == 4 else gradient
            rows = rows.reshape(-1, rows.shape[-1])
            totals[name] = totals[name] + (rows.T @ rows).double().numpy()
            counts[name] += len(rows)
    return {name: totals[name] / counts[name] for name in outputs}
