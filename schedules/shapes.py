"""Shapes of what kernels compute: one convolution, and where it stands."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution's attributes; `padding` is (top, left, bottom, right), all others are (vertical, horizontal)."""

    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    upsample: tuple[int, int] = (1, 1)  # input pixels with upsample - 1 zeros between them: a transposed convolution's stride

    @property
    def plain(self) -> bool:
        """Neither dilated nor upsampled."""
        return self.dilation == (1, 1) == self.upsample

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output, from those of the input after upsampling."""
        return self._positions(0, height), self._positions(1, width)

    def _positions(self, axis: int, size: int) -> int:
        span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (size + self.padding[axis] + self.padding[axis + 2] - span) // self.stride[axis] + 1

    def shape(self, batch: int, height: int, width: int, channels: int) -> ConvShape:
        """What the tile model wants to know."""
        return ConvShape(batch, self.groups, channels // self.groups, self.filters // self.groups, self.output(height, width),
                         self.kernel, self.stride, self._rows_on_image(height))

    def _rows_on_image(self, height: int) -> float:
        """Share of (output row, kernel row) pairs that meet a row of the image; all others meet zeros of the padding."""
        rows = self.stride[0] * np.arange(self._positions(0, height))[:, None] + self.dilation[0] * np.arange(self.kernel[0])
        return float(np.mean((rows >= self.padding[0]) & (rows < self.padding[0] + height)))


@dataclass(frozen=True)
class ConvWorkload:
    """A convolution in a sequence: its geometry, and the size (height, width), channels and batch of its input.

    It is `gathered` if it reads the channels in another order than they lie in. One that `pools` is no convolution but a max-pooling, one
    that `averages` does so over the whole image: both have a group for each channel.
    """

    geometry: ConvGeometry
    size: tuple[int, int]
    channels: int
    batch: int
    gathered: bool = False
    pools: bool = False
    averages: bool = False

    @cached_property
    def output(self) -> tuple[int, int]:
        return self.geometry.output(*self.size)

    @property
    def depthwise(self) -> bool:
        return self.geometry.groups == self.channels == self.geometry.filters

    @property
    def streams_weights(self) -> bool:
        """A matrix times a vector: its weights, each of use only once, take the time, and all cores read them best."""
        return self.batch == 1 and self.geometry == ConvGeometry(self.geometry.filters, self.size)

    @property
    def meets_image(self) -> bool:
        """Not all columns that it reads are padding."""
        kernel, stride, dilation = (pair[1] for pair in (self.geometry.kernel, self.geometry.stride, self.geometry.dilation))
        return self.geometry.padding[1] <= (self.output[1] - 1) * stride + (kernel - 1) * dilation

    @property
    def weight_bytes(self) -> int:
        taps = 0 if self.pools else self.geometry.kernel[0] * self.geometry.kernel[1]
        return 4 * self.geometry.filters * self.channels // self.geometry.groups * taps

    def shape(self):
        """For the tile model."""
        return self.geometry.shape(self.batch, *self.size, self.channels)


@dataclass(frozen=True)
class ConvShape:
    """ConvGeometry of one convolution, NHWC: `channels` and `filters` are those of one group, sizes are (height, width).

    `rows_on_image` is the share of kernel rows that meet the image and not its padding, over all output rows.
    """

    batch: int
    groups: int
    channels: int
    filters: int
    output: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    rows_on_image: float = 1.0

    @property
    def pixels(self) -> int:
        return self.output[0] * self.output[1]

    @property
    def pixel_bytes(self) -> int:
        """From a pixel of the input to that of the next output."""
        return 4 * self.groups * self.channels * self.stride[1]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]
