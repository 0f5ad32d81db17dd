"""The network as it was teaches the one that was made of it: Hinton et al., "Distilling the knowledge in a neural network" (2015)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ...support.errors import TenfoldError
from ..loop import Objective


def distillation(teacher: nn.Module, temperature: float = 4.0, labels: float = 0.0) -> Objective:
    """Minimise T^2 KL(teacher's probabilities || the network's), both softened by the temperature T.

    The factor T^2 keeps gradients as large as those of the cross-entropy (section 2).

    Parameters
    ----------
    teacher : nn.Module
        Takes the same images. Put into evaluation mode.
    temperature : float
        T, above 0.
    labels : float
        The part that the cross-entropy with the labels has in the loss, from 0 (no labels are looked at) to 1.

    Raises
    ------
    TenfoldError
        A temperature or a part out of range.
    """
    if not (temperature > 0 and 0 <= labels <= 1):
        raise TenfoldError(f"distillation at temperature {temperature}, labels {labels}: the one must be above 0, the other from 0 to 1")
    teacher.eval()

    def loss(output: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            taught = (teacher(x).float() / temperature).log_softmax(1)
        soft = temperature**2 * F.kl_div((output / temperature).log_softmax(1), taught, reduction="batchmean", log_target=True)
        return soft if not labels else (1 - labels) * soft + labels * F.cross_entropy(output, y)

    return Objective(loss)
