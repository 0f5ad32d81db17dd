"""Full pre-activation separable residual block: Çallı, section 2.4.1 and figure 2.11.

    x -> norm, ReLU, depthwise / s, pointwise C -> F, norm, ReLU, depthwise, pointwise -> +
    x -> identity mapping -------------------------------------------------------------> +
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..structures import separable
from .identity import PaddedIdentity


class SeparableBlock(nn.Module):
    """The block.

    Parameters
    ----------
    channels, filters : int
        Of its input and output.
    stride : int
        Of the first depthwise convolution.
    projected : bool
        The identity mapping is a 1 x 1 convolution where the shape changes, as for ImageNet, not a `PaddedIdentity`.
    """

    def __init__(self, channels: int, filters: int, stride: int = 1, projected: bool = False):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(filters)
        self.convolution1 = _without_bias(separable(channels, filters, 3, stride))
        self.convolution2 = _without_bias(separable(filters, filters, 3))
        self.identity: nn.Module = nn.Identity()
        if projected and (channels != filters or stride > 1):
            self.identity = nn.Conv2d(channels, filters, 1, stride, bias=False)
        elif channels != filters or stride > 1:
            self.identity = PaddedIdentity(stride, 0, filters - channels, pooled=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the two paths."""
        y = self.convolution1(F.relu(self.norm1(x)))
        return self.convolution2(F.relu(self.norm2(y))) + self.identity(x)


def _without_bias(convolution: nn.Sequential) -> nn.Sequential:
    convolution[-1].bias = None  # a batch norm follows, in this block or behind the last
    return convolution
