"""The two networks of Jin, Dundar and Culurciello, "Flattened convolutional neural networks for feedforward acceleration" (2015)."""
from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..structures import flattened

FILTERS = (96, 128, 256)
DROPOUT = (0.1, 0.25, 0.25, 0.5, 0.5)  # from lower to higher layers
HIDDEN = 256
KERNEL = 5


def jin_baseline(
    classes: int = 10, size: int = 32, batch_norm: bool = False, channels: int = 3, pooling: tuple[int, int] = (3, 2)
) -> nn.Sequential:
    """The baseline, section 4.1.

    Three 5 x 5 convolutions of 96, 128 and 256 filters, each with ReLU and max-pooling, two hidden layers of 256 units, dropout of 0.1,
    0.25, 0.25, 0.5, 0.5 from lower to higher layers. The weights begin as torch's do: uniform within 1 / sqrt(inputs of a unit), the
    heuristic of LeCun et al. (1998), with which the paper's baseline was best (section 4.2).

    Parameters
    ----------
    classes : int
        Width of the last layer.
    size : int
        Height and width of the input images in pixels.
    batch_norm : bool
        Put a batch norm after each convolution while training. It folds into the convolution, so the network that
        is exported has the paper's layers either way.
    channels : int
        Of the input images.
    pooling : (int, int)
        Size and stride. The text says "sizes of 2 and strides of 3", which leaves out pixels, of a model that is "the same as" that of
        Srivastava and Salakhutdinov (2013), where regions of 3 x 3 have a stride of 2: this is the default.
    """
    return _jin(_plain, classes, size, batch_norm, channels, pooling)


def jin_flattened(
    classes: int = 10,
    size: int = 32,
    batch_norm: bool = False,
    channels: int = 3,
    pooling: tuple[int, int] = (3, 2),
    *,
    lateral_first: bool = True,
    sets: int = 2,
    first: bool = False,
) -> nn.Sequential:
    """`jin_baseline` with flattened layers in the place of its second and third (section 4.3), or of all three.

    Parameters
    ----------
    classes, size, batch_norm, channels, pooling
        As for `jin_baseline`.
    lateral_first, sets
        Order of the filters in a set, and sets in a layer, as for `FlattenedConv2d`.
    first : bool
        Flatten the first layer, too: "achieved comparable accuracy as well", but has more weights than the convolution.
    """

    def convolution(inputs: int, filters: int) -> nn.Module:
        if inputs == channels and not first:
            return _plain(inputs, filters)
        return flattened(inputs, filters, KERNEL, sets, lateral_first)

    return _jin(convolution, classes, size, batch_norm, channels, pooling)


def _plain(inputs: int, filters: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, filters, KERNEL, padding=KERNEL // 2)


def _jin(
    convolution: Callable[[int, int], nn.Module], classes: int, size: int, batch_norm: bool, channels: int, pooling: tuple[int, int]
) -> nn.Sequential:
    layers: list[nn.Module] = []
    window, stride = pooling
    for filters, dropout in zip(FILTERS, DROPOUT, strict=False):
        layers.append(convolution(channels, filters))
        if batch_norm:
            layers.append(nn.BatchNorm2d(filters))
        layers += [nn.ReLU(), nn.MaxPool2d(window, stride), nn.Dropout(dropout)]
        channels, size = filters, (size - window) // stride + 1
    layers.append(nn.Flatten())
    features = channels * size * size
    for dropout in DROPOUT[len(FILTERS) :]:
        layers += [nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(dropout)]
        features = HIDDEN
    layers.append(nn.Linear(features, classes))
    return nn.Sequential(*layers)
