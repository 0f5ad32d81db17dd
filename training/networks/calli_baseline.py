"""The baseline for alternatives of the convolution in Çallı, "Faster and lighter convolutional neural networks" (2017), section 2.3.4."""
from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ...support.errors import TenfoldError
from ..structures import kernel_composing, separable

KERNEL = 5

# What stands in the place of the second and the third convolution, by the name of its row in table 3.1.
CALLI_OPERATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "convolution": lambda inputs, filters: nn.Conv2d(inputs, filters, KERNEL, padding=KERNEL // 2),
    "kernel_composing": lambda inputs, filters: kernel_composing(inputs, filters, KERNEL, filters),
    "separable": lambda inputs, filters: separable(inputs, filters, KERNEL),
    "nonlinear_separable": lambda inputs, filters: separable(inputs, filters, KERNEL, nonlinear=True),
}


def calli_baseline(
    operation: str = "convolution", classes: int = 10, channels: int = 3, widths: tuple[int, int, int] = (32, 64, 128)
) -> nn.Sequential:
    """Three 5 x 5 convolutions with bias, batch norm and ReLU, 2 x 2 max-pooling behind the first two, a global average, a dense layer.

    Parameters
    ----------
    operation : str
        A name in `CALLI_OPERATIONS`. The first convolution stays: of three input channels nothing is saved.
    classes : int
        Width of the last layer.
    channels : int
        Of the input images, which may be of any size.
    widths : three int
        Filters of the convolutions. The thesis gives them in figure 2.9 alone; these are ours.

    Raises
    ------
    TenfoldError
        No such operation.
    """
    if operation not in CALLI_OPERATIONS:
        raise TenfoldError(f"operation {operation!r}: there are {', '.join(CALLI_OPERATIONS)}")
    layers: list[nn.Module] = []
    for number, filters in enumerate(widths):
        convolution = CALLI_OPERATIONS["convolution" if number == 0 else operation]
        layers += [convolution(channels, filters), nn.BatchNorm2d(filters), nn.ReLU()]
        layers.append(nn.MaxPool2d(2) if number < len(widths) - 1 else nn.AdaptiveAvgPool2d(1))
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, classes))
