"""The papers' networks as torch modules."""
from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .structures import flattened


def jin_baseline(classes: int = 10, size: int = 32, batch_norm: bool = False) -> nn.Sequential:
    """The baseline CNN of Jin et al., "Flattened convolutional neural networks" (2015), section 4.1.

    Three 5 x 5 convolutions of 96, 128 and 256 filters, each with ReLU and 3 x 3 max-pooling of stride 2, two
    hidden layers of 256 units, dropout of 0.1, 0.25, 0.25, 0.5, 0.5 from lower to higher layers.

    Parameters
    ----------
    classes : int
        Width of the last layer.
    size : int
        Height and width of the input images in pixels.
    batch_norm : bool
        Put a batch norm after each convolution while training. It folds into the convolution, so the network that
        is exported has the paper's layers either way.
    """
    return _jin(lambda channels, filters: [nn.Conv2d(channels, filters, 5, padding=2)], classes, size, batch_norm)


def jin_flattened(classes: int = 10, size: int = 32, batch_norm: bool = False, lateral_first: bool = True) -> nn.Sequential:
    """`jin_baseline` with its second and third layer flattened into two sets (section 4.3).

    Parameters
    ----------
    classes, size, batch_norm
        As for `jin_baseline`.
    lateral_first : bool
        Order of the filters in a set, as for `flattened`.
    """

    def convolution(channels: int, filters: int) -> list[nn.Module]:
        if channels == 3:
            return [nn.Conv2d(channels, filters, 5, padding=2)]
        return list(flattened(channels, filters, 5, lateral_first=lateral_first))

    return _jin(convolution, classes, size, batch_norm)


def _jin(convolution: Callable[[int, int], list[nn.Module]], classes: int, size: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for filters, dropout in ((96, 0.1), (128, 0.25), (256, 0.25)):
        layers += convolution(channels, filters)
        if batch_norm:
            layers.append(nn.BatchNorm2d(filters))
        layers += [nn.ReLU(), nn.MaxPool2d(3, 2), nn.Dropout(dropout)]
        channels, size = filters, (size - 3) // 2 + 1
    layers.append(nn.Flatten())
    features = channels * size * size
    for _ in range(2):
        layers += [nn.Linear(features, 256), nn.ReLU(), nn.Dropout(0.5)]
        features = 256
    layers.append(nn.Linear(features, classes))
    return nn.Sequential(*layers)


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


def fold_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """Fold each batch norm of a network into the convolution before it. The result is in evaluation mode."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = network.eval()
    folded: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        elif not isinstance(layer, nn.Dropout):
            folded.append(layer)
    return nn.Sequential(*folded).eval()
