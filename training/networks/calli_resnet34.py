"""ResNet-34 of separable residual blocks, with cheaper first layers: Çallı (2017), section 2.4.1, figure 2.13."""
from __future__ import annotations

from torch import nn

from .separable_block import SeparableBlock

BLOCKS = (3, 4, 6, 3)  # of ResNet-34: He et al. (2015), table 1
WIDTH = 64
STEM = (8, 8)


def calli_resnet34(classes: int = 1000, stem: tuple[int, int] = STEM) -> nn.Sequential:
    """The network for ImageNet, 224 x 224 pixels.

    In the place of ResNet's 7 x 7 convolution stand two 3 x 3 convolutions, a 3 x 3 depthwise one that doubles the channels, and a
    pointwise one; then max-pooling. Identity mappings are 1 x 1 convolutions of stride 2.

    Parameters
    ----------
    classes : int
        Width of the last layer.
    stem : (int, int)
        Filters of the first two convolutions. The thesis shows them in its figure alone, and says that they make these layers "about four
        times" cheaper: 8 and 8 make them 4.8 times cheaper, 8 and 16 only 2.5 times.
    """
    first, second = stem
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()),
        *(nn.Conv2d(first, second, 3, 1, 1, bias=False), nn.BatchNorm2d(second), nn.ReLU()),
        nn.Conv2d(second, 2 * second, 3, 1, 1, groups=second, bias=False),
        nn.Conv2d(2 * second, WIDTH, 1, bias=False),
        nn.MaxPool2d(2),
    ]
    features = WIDTH
    for stage, count in enumerate(BLOCKS):
        for number in range(count):
            filters, stride = WIDTH << stage, 2 if stage and not number else 1
            layers.append(SeparableBlock(features, filters, stride, projected=True))
            features = filters
    return nn.Sequential(*layers, nn.BatchNorm2d(features), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))
