"""The model of Çallı (2017) for CIFAR-10: section 2.4.1, figure 2.12, table 3.2."""
from __future__ import annotations

from torch import nn

from .separable_block import SeparableBlock

WIDTH = 32  # "two times wider" than ResNet-20, whose first stage has 16 (chapter 5)
BLOCKS = (1, 2, 3)


def calli_small(classes: int = 10, channels: int = 3, width: int = WIDTH, blocks: tuple[int, ...] = BLOCKS) -> nn.Sequential:
    """A 3 x 3 convolution and six separable residual blocks; each stage halves the image and doubles the features.

    Table 3.2 prints 0.12 M parameters and about 13 M operations. How many blocks stand in each stage only figure 2.12 shows. Of all ways to
    divide six blocks among two to four stages of 32, 64, ... features, 1, 2, 3 alone has these parameters; the blocks then take 13.05 M
    multiply-adds for an image of 32 x 32.

    Parameters
    ----------
    classes : int
        Width of the last layer.
    channels : int
        Of the input images, which may be of any size.
    width : int
        Features of the first stage.
    blocks : tuple of int
        In each stage.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    features = width
    for stage, count in enumerate(blocks):
        for number in range(count):
            filters, stride = width << stage, 2 if stage and not number else 1
            layers.append(SeparableBlock(features, filters, stride))
            features = filters
    return nn.Sequential(*layers, nn.BatchNorm2d(features), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))
