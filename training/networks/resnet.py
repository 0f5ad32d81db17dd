"""ResNets for CIFAR-10: He et al., "Deep residual learning for image recognition" (2015), section 4.2."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ...support.errors import TenfoldError
from .identity import PaddedIdentity

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norms; the shortcut takes every second pixel and adds channels of zeros (option A)."""

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.convolution1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.convolution2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        zeros = filters - channels
        self.shortcut = PaddedIdentity(stride, zeros // 2, zeros - zeros // 2, pooled=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the shortcut, then ReLU."""
        y = self.norm2(self.convolution2(F.relu(self.norm1(self.convolution1(x)))))
        return F.relu(y + self.shortcut(x))


def resnet(depth: int = 20, classes: int = 10, channels: int = 3) -> nn.Sequential:
    """6 n + 2 layers: a convolution, three stages of n blocks with 16, 32 and 64 filters, a global average, a dense layer.

    Parameters
    ----------
    depth : int
        20 (0.27 M parameters) and 56 (0.85 M) are the ones that other papers compress.
    classes : int
        Width of the last layer.
    channels : int
        Of the input images.

    Raises
    ------
    TenfoldError
        A depth that is not 6 n + 2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise TenfoldError(f"a ResNet of {depth} layers: for CIFAR-10 they have 6 n + 2, such as 20 and 56")
    features = WIDTHS[0]
    layers: list[nn.Module] = [nn.Conv2d(channels, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU()]
    for stage, filters in enumerate(WIDTHS):
        for number in range(blocks):
            layers.append(BasicBlock(features, filters, 2 if stage and not number else 1))
            features = filters
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
