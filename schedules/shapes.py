"""Shapes of what kernels compute: one convolution, and where it stands."""
from __future__ import annotations

from dataclasses import dataclass, replace
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

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output, from those of the input after upsampling."""
        return self._positions(0, height), self._positions(1, width)

    def _positions(self, axis: int, size: int) -> int:
        span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (size + self.padding[axis] + self.padding[axis + 2] - span) // self.stride[axis] + 1

    def shape(self, batch: int, height: int, width: int, channels: int) -> ConvShape:
        """What the tile model wants to know."""
        return ConvShape(batch, self.groups, channels // self.groups, self.filters // self.groups, self.output(height, width),
                         self.kernel, self.stride, self._rows_on_image(height), self.dilation)

    def _rows_on_image(self, height: int) -> float:
        """Share of (output row, kernel row) pairs that meet a row of the image; all others meet zeros of the padding."""
        rows = self.stride[0] * np.arange(self._positions(0, height))[:, None] + self.dilation[0] * np.arange(self.kernel[0])
        return float(np.mean((rows >= self.padding[0]) & (rows < self.padding[0] + height)))


@dataclass(frozen=True)
class ConvWorkload:
    """A convolution on an image of a known size.

    Attributes
    ----------
    geometry : ConvGeometry
    size : tuple of int
        Height and width of its input.
    channels, batch : int
        Of its input.
    gathered : bool
        It reads the channels in another order than they lie in.
    pools, averages : bool
        It is no convolution but a max-pooling, or the average over the whole image; the geometry has a group for each channel.
    """

    geometry: ConvGeometry
    size: tuple[int, int]
    channels: int
    batch: int
    gathered: bool = False
    pools: bool = False
    averages: bool = False

    def __str__(self) -> str:
        g = self.geometry
        kind = "pool" if self.pools else "average" if self.averages else "conv2d"
        words = [kind, "x".join(map(str, (self.batch, *self.size, self.channels)))]
        words += [f"filters {g.filters}", f"kernel {g.kernel[0]}x{g.kernel[1]}"]
        plain = ConvGeometry(g.filters, g.kernel)
        for name in ("stride", "padding", "dilation", "upsample"):
            if getattr(g, name) != getattr(plain, name):
                words.append(f"{name} {'x'.join(map(str, getattr(g, name)))}")
        words += [f"groups {g.groups}"] * (g.groups > 1)
        return " ".join(words + ["gathered"] * self.gathered)

    @property
    def spread(self) -> tuple[int, int]:
        """Height and width of the input with zeros between its pixels, where it is upsampled."""
        (height, width), (up_h, up_w) = self.size, self.geometry.upsample
        return (height - 1) * up_h + 1, (width - 1) * up_w + 1

    @cached_property
    def output(self) -> tuple[int, int]:
        """Height and width of the output."""
        return self.geometry.output(*self.spread)

    @property
    def depthwise(self) -> bool:
        """Whether each channel has a filter of its own, and no filter reads two."""
        return self.geometry.groups == self.channels == self.geometry.filters

    @property
    def streams_weights(self) -> bool:
        """Whether it is a matrix times a vector: reading the weights, each of use only once, takes the time."""
        return self.batch == 1 and self.geometry == ConvGeometry(self.geometry.filters, self.size)

    @property
    def meets_image(self) -> bool:
        """Whether not all columns that it reads are padding."""
        kernel, stride, dilation = (pair[1] for pair in (self.geometry.kernel, self.geometry.stride, self.geometry.dilation))
        return self.geometry.padding[1] <= (self.output[1] - 1) * stride + (kernel - 1) * dilation

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        taps = 0 if self.pools else self.geometry.kernel[0] * self.geometry.kernel[1]
        return 4 * self.geometry.filters * self.channels // self.geometry.groups * taps

    def shape(self) -> ConvShape:
        """Return what the tile model wants to know."""
        return self.geometry.shape(self.batch, *self.spread, self.channels)

    def with_groups(self, groups: int) -> ConvWorkload:
        """Return the convolution with another number of groups."""
        return replace(self, geometry=replace(self.geometry, groups=groups))


@dataclass(frozen=True)
class DenseWorkload:
    """A fully connected layer: `rows` vectors of `channels` numbers, each to `filters` numbers."""

    rows: int
    channels: int
    filters: int

    def __str__(self) -> str:
        return f"dense {self.rows}x{self.channels} filters {self.filters}"


@dataclass(frozen=True)
class ResponseNorm:
    """A local response normalisation: x / (bias + scale * (sum of squares of the window)) ** beta.

    Attributes
    ----------
    before, behind : int
        How far the window reaches to either side along the channels.
    bias, scale, beta : float
    """

    before: int
    behind: int
    bias: float
    scale: float
    beta: float


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
    dilation: tuple[int, int] = (1, 1)

    @property
    def pixels(self) -> int:
        """Return the pixels of the output."""
        return self.output[0] * self.output[1]

    @property
    def pixel_bytes(self) -> int:
        """From a pixel of the input to that of the next output."""
        return 4 * self.groups * self.channels * self.stride[1]

    @property
    def taps(self) -> int:
        """Return the positions of the kernel."""
        return self.kernel[0] * self.kernel[1]
