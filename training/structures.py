"""Cheaper structures to train in the place of a convolution, and the chain of a factored layer as a module to go on training from.

A structure keeps the size of the image with stride 1, or divides it, as a convolution padded by half a kernel does.
"""
from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ..factorization import FactorChain
from ..support.errors import TenfoldError


class FlattenedConv2d(nn.Sequential):
    """A drop-in for `nn.Conv2d`: ``sets`` times a lateral, a vertical and a horizontal convolution, each with a bias, nothing between.

    Source: Jin et al. (2015), section 4.2 and figure 2, two sets; F (F + C + 2 X + 2 Y) weights (section 4.3). Initialised as Glorot and
    Bengio (2010), which section 4.2 found to train better than the usual heuristic: so the signal keeps its size through six layers.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
    stride, padding, dilation : int or (int, int)
        Of the convolution in whose place it stands. Stride and padding are the first set's; the others keep the size of the image.
    groups : int
        Of the first lateral convolution.
    sets : int
        l, at least 1.
    lateral_first : bool
        False: lateral filters last in each set, so that the first lines run over the input channels, as table 1 counts.
    bias : bool
        False leaves out the biases, which makes learning very slow (section 3).

    Raises
    ------
    TenfoldError
        An even kernel with several sets, which can't keep the size of the image.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        *,
        sets: int = 2,
        lateral_first: bool = True,
        bias: bool = True,
    ):
        (y, x), (dy, dx) = _pair(kernel_size), _pair(dilation)
        if sets < 1 or (sets > 1 and not (y % 2 and x % 2)):
            raise TenfoldError(f"a flattened layer of {sets} sets with a {y} x {x} kernel: give a set or more, and odd kernels for several")
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise([in_channels, *[out_channels] * sets])):
            sy, sx = _pair(stride) if number == 0 else (1, 1)
            py, px = _pair(padding) if number == 0 else (dy * (y // 2), dx * (x // 2))
            lines = outputs if lateral_first else inputs
            lateral = [nn.Conv2d(inputs, outputs, 1, groups=groups if number == 0 else 1, bias=bias)]
            across = [
                nn.Conv2d(lines, lines, (y, 1), (sy, 1), (py, 0), (dy, 1), groups=lines, bias=bias),
                nn.Conv2d(lines, lines, (1, x), (1, sx), (0, px), (1, dx), groups=lines, bias=bias),
            ]
            layers += lateral + across if lateral_first else across + lateral
        super().__init__(*layers)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform weights of variance 2 / (inputs + outputs of a unit), biases 0."""
        for layer in self:
            reach = layer.kernel_size[0] * layer.kernel_size[1] / layer.groups
            bound = (6 / (reach * (layer.in_channels + layer.out_channels))) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def flattened(channels: int, filters: int, kernel: int, sets: int = 2, lateral_first: bool = True) -> FlattenedConv2d:
    """`FlattenedConv2d` that keeps the size of the image.

    Parameters
    ----------
    channels, filters, kernel : int
        Of the convolution in whose place it stands.
    sets, lateral_first
        As of `FlattenedConv2d`.
    """
    return FlattenedConv2d(channels, filters, kernel, padding=kernel // 2, sets=sets, lateral_first=lateral_first)


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


def from_dense_chain(chain: FactorChain) -> nn.Sequential:
    """The stages of the chain of a dense layer as dense layers with their weights: of rows of any number, behind one another."""
    layers: list[nn.Module] = []
    for stage in chain.stages:
        if stage.input_permutation is not None:
            layers.append(Gather(torch.from_numpy(stage.input_permutation), axis=-1))
        dense = nn.Linear(stage.in_channels, stage.out_channels, bias=stage.bias is not None)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(stage.weight[:, :, 0, 0].copy()))
            if stage.bias is not None:
                dense.bias.copy_(torch.from_numpy(stage.bias.copy()))
        layers.append(dense)
    if chain.permutation is not None:
        layers.append(Gather(torch.from_numpy(chain.permutation), axis=-1))
    return nn.Sequential(*layers)


class Gather(nn.Module):
    """Channels in another order."""

    def __init__(self, order: torch.Tensor, axis: int = 1):
        super().__init__()
        self.register_buffer("order", order)
        self.axis = axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Put the channels into their order."""
        return x.index_select(self.axis, self.order)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
