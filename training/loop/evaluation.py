"""Loss and accuracy of a network on the test images."""
from __future__ import annotations

import torch
from torch import nn

from ..data import Prepared
from .distributed import Group
from .objectives import Objective, cross_entropy

TEST_BATCH = 250


@torch.inference_mode()
def evaluate(
    network: nn.Module, data: Prepared, objective: Objective | None = None, channels_last: bool = True, group: Group | None = None
) -> tuple[float, float]:
    """Test, in float32.

    Parameters
    ----------
    network : nn.Module
        On the device of the data; left in evaluation mode.
    data : Prepared
        Its test images.
    objective : Objective, optional
        Default: the cross-entropy.
    channels_last : bool
        Give it images with their channels innermost.
    group : Group, optional
        Processes that each test a part.

    Returns
    -------
    float, float
        The mean loss, and the accuracy, a fraction of 1: NaN where outputs are no classes.
    """
    objective = objective or cross_entropy()
    rank, size = (group.rank, group.size) if group is not None else (0, 1)
    network.eval()
    loss = right = 0.0
    for number, start in enumerate(range(0, len(data.test_x), TEST_BATCH)):
        if number % size == rank:
            x, y = laid_out(data.seen(data.test_x[start : start + TEST_BATCH]), channels_last), data.test_y[start : start + TEST_BATCH]
            output = network(x).float()
            loss += objective.loss(output, x, y).item() * len(x)
            right += float((output.argmax(1) == y).sum()) if objective.classifies else 0.0
    totals = (loss, right) if group is None else group.sums(loss, right)
    loss, right = (total / max(len(data.test_x), 1) for total in totals)
    return loss, right if objective.classifies else float("nan")


def laid_out(x: torch.Tensor, channels_last: bool) -> torch.Tensor:
    """Images with their channels innermost, or outermost; anything else as it is."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return x.contiguous(memory_format=layout) if x.ndim == 4 else x
