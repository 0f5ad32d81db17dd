"""A small VGG for CIFAR-10, which comes with the examples."""
from __future__ import annotations

from torch import nn


def small_vgg(classes: int = 10) -> nn.Sequential:
    """A small VGG with batch norm: nine 3 x 3 convolutions of 64 to 192 filters, 2.05 M parameters.

    After Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015), narrower and
    without its fourth pooling: an image of 32 x 32 has 4 x 4 pixels behind the third. The convolutions have no biases; the global average
    before the one dense layer lets the network take images of any size.
    """
    layers: list[nn.Module] = []
    channels = 3
    for stage in ((64,), (96,), (128,), (192,) * 6):
        for filters in stage:
            layers += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
