"""Cheaper structures to train in the place of a convolution, and the chain of a factored layer as a module to go on training from.

A structure keeps the size of the image with stride 1, or divides it, as a convolution padded by half a kernel does.
"""
from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ..factorization import FactorChain


def flattened(channels: int, filters: int, kernel: int, sets: int = 2, lateral_first: bool = True) -> nn.Sequential:
    """Jin et al. (2015), figure 2: ``sets`` times a lateral, a vertical and a horizontal convolution, each with a bias, nothing between.

    F (F + C + 2 X + 2 Y) weights with two sets.

    Parameters
    ----------
    sets : int
        l, at least 1.
    lateral_first : bool
        False: lateral filters last in each set, so that the first lines run over the input channels, as table 1 counts.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([channels, *[filters] * sets]):
        lines = outputs if lateral_first else inputs
        lateral = [nn.Conv2d(inputs, outputs, 1)]
        across = [
            nn.Conv2d(lines, lines, (kernel, 1), padding=(kernel // 2, 0), groups=lines),
            nn.Conv2d(lines, lines, (1, kernel), padding=(0, kernel // 2), groups=lines),
        ]
        layers += lateral + across if lateral_first else across + lateral
    return nn.Sequential(*layers)


def kernel_composing(channels: int, filters: int, kernel: int, width: int, stride: int = 1) -> nn.Sequential:
    """Çallı, section 2.3.1 (Alvarez and Petersson 2016): a Y x 1 convolution, a bias, ReLU, and a 1 x X convolution with a bias.

    Parameters
    ----------
    width : int
        Channels between the two. `kernel_composing_width_bound` says how many still cost less than the convolution.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0)),
        nn.ReLU(),
        nn.Conv2d(width, filters, (1, kernel), stride=(1, stride), padding=(0, kernel // 2)),
    )


def separable(channels: int, filters: int, kernel: int, stride: int = 1, nonlinear: bool = False) -> nn.Sequential:
    """Çallı, section 2.3.2: a depthwise convolution and a pointwise one with a bias.

    Parameters
    ----------
    nonlinear : bool
        Batch norm and ReLU between them, as in MobileNet (section 2.3.3).
    """
    depthwise = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    between = [nn.BatchNorm2d(channels), nn.ReLU()] if nonlinear else []
    return nn.Sequential(depthwise, *between, nn.Conv2d(channels, filters, 1))


def from_chain(chain: FactorChain) -> nn.Sequential:
    """The stages of a chain as convolutions with their weights: of images, also where the layer was a dense one.

    Returns
    -------
    nn.Sequential
        The module computes what the chain does. A stage that pads its sides unevenly is preceded by the zeros; a permutation of
        channels is a module of its own.
    """
    layers: list[nn.Module] = []
    for stage in chain.stages:
        if stage.input_permutation is not None:
            layers.append(Gather(torch.from_numpy(stage.input_permutation)))
        top, left, bottom, right = stage.padding
        even = top == bottom and left == right
        if not even:
            layers.append(nn.ZeroPad2d((left, right, top, bottom)))
        convolution = nn.Conv2d(
            stage.in_channels,
            stage.out_channels,
            stage.kernel,
            stage.stride,
            (top, left) if even else 0,
            stage.dilation,
            stage.groups,
            bias=stage.bias is not None,
        )
        with torch.no_grad():
            convolution.weight.copy_(torch.from_numpy(stage.weight.copy()))
            if stage.bias is not None:
                convolution.bias.copy_(torch.from_numpy(stage.bias.copy()))
        layers.append(convolution)
    if chain.permutation is not None:
        layers.append(Gather(torch.from_numpy(chain.permutation)))
    return nn.Sequential(*layers)


class Gather(nn.Module):
    """Channels in another order."""

    def __init__(self, order: torch.Tensor):
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Put the channels into their order."""
        return x[:, self.order]
