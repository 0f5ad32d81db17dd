"""What training minimises."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Objective:
    """A loss.

    Attributes
    ----------
    loss : callable
        Outputs, inputs and labels of a batch -> a number, the mean over the batch.
    classifies : bool
        Outputs are scores of classes, and labels numbers of classes: then accuracy is counted.
    """

    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    classifies: bool = True


def cross_entropy(smoothing: float = 0.0) -> Objective:
    """Softmax cross-entropy with labels: Çallı, section 1.2.3. Smoothing gives a part of each label to all classes alike."""

    def loss(output: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, y, label_smoothing=smoothing)

    return Objective(loss)


def root_mean_square() -> Objective:
    """Root mean square error of each output, their mean: Çallı, section 1.2.3."""

    def loss(output: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # Its slope at 0 is infinite, so the root is taken of a little more.
        return ((output - y).square().flatten(1).mean(1) + 1e-12).sqrt().mean()

    return Objective(loss, classifies=False)
