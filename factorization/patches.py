"""The patches of a layer's input that its kernel meets, and the pixels of its output, at positions drawn by chance.

Neighbouring patches of one image say nearly the same: a few positions of many images say as much as all positions of few, and
take a hundredth of the time.
"""
from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod

import numpy as np

from .layer import Layer

SEED = 2014


@dataclass(frozen=True)
class Pool:
    """A max-pooling behind a layer.

    Attributes
    ----------
    kernel, stride, padding, dilation : tuple of int
        (rows, columns); of the padding the top and the left.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def window(self) -> int:
        """Pixels of which one goes on."""
        return prod(self.kernel)

    def windows(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of them on an image of that size; those that reach beyond its end are left out, all of them maybe."""
        return self._along(0, size[0]), self._along(1, size[1])

    def _along(self, axis: int, extent: int) -> int:
        span = (self.kernel[axis] - 1) * self.dilation[axis] + 1 - self.padding[axis]
        return max(0, (extent - span) // self.stride[axis] + 1)


@dataclass(frozen=True, eq=False)
class Positions:
    """Pixels of a layer's output, or rows of a dense layer's input, the same number in each image.

    Attributes
    ----------
    rows, columns : ndarray
        (images, positions) of int. Of a pooled layer the pixels of a window follow each other.
    """

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def draw_windows(cls, layer: Layer, images: int, windows: int, pool: Pool) -> Positions:
        """At least so many windows of a pooling in all, or every one; its first pixel stands for what lies in padding."""
        outputs = cls._drawn(layer.name, pool.windows(layer.output_size), images, windows)
        each = []
        for drawn, axis in ((outputs.rows, 0), (outputs.columns, 1)):
            taps = np.arange(pool.kernel[axis]) * pool.dilation[axis] - pool.padding[axis]
            places = drawn[..., None] * pool.stride[axis] + taps
            each.append(np.where(places < 0, places % pool.dilation[axis], places))
        rows, columns = np.broadcast_arrays(each[0][..., :, None], each[1][..., None, :])
        return cls(rows.reshape(images, -1), columns.reshape(images, -1))

    @classmethod
    def draw(cls, layer: Layer, images: int, patches: int, batch: int = 1) -> Positions:
        """At least ``patches`` positions in all, or every one; the same ones whenever the arguments are the same.

        ``batch``: the images of one run of the network that the layer was listed for.
        """
        return cls._drawn(layer.name, layer.output_size if layer.kind == "conv2d" else (1, max(layer.batch // batch, 1)), images, patches)

    @classmethod
    def _drawn(cls, name: str, size: tuple[int, int], images: int, count: int) -> Positions:
        height, width = size
        each = min(-(-count // images), height * width)
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
        if each == height * width:
            pixels = np.tile(np.arange(each), (images, 1))
        else:
            pixels = rng.integers(0, height * width, (images, each))
        return cls(*np.divmod(pixels, width))

    def __getitem__(self, images: slice) -> Positions:
        return Positions(self.rows[images], self.columns[images])


def patches(layer: Layer, x: np.ndarray, at: Positions) -> np.ndarray:
    """What the kernel of ``layer`` meets at each position: rows in the order of a flattened OIHW weight.

    Parameters
    ----------
    layer
        Without groups.
    x
        The layer's input: NCHW for as many images as ``at`` has, or (..., C) for a dense layer.

    Returns
    -------
    ndarray
        (images x positions, C Y X). Padding gives zeros.
    """
    if layer.kind == "dense":
        return _rows(x, at)
    top, left, bottom, right = layer.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = _windows(layer, x)[np.arange(len(x))[:, None], at.rows, at.columns]
    return windows.reshape(-1, prod(layer.weight_shape[1:]))


def pixels(y: np.ndarray, at: Positions) -> np.ndarray:
    """The channels of a layer's output, NCHW or (..., F), at each position: (images x positions, F)."""
    if y.ndim != 4:
        return _rows(y, at)
    return y[np.arange(len(y))[:, None], :, at.rows, at.columns].reshape(-1, y.shape[1])


def _rows(x: np.ndarray, at: Positions) -> np.ndarray:
    return x.reshape(len(at.rows), -1, x.shape[-1])[np.arange(len(at.rows))[:, None], at.columns].reshape(-1, x.shape[-1])


def _windows(layer: Layer, x: np.ndarray) -> np.ndarray:
    """A view of padded NCHW ``x`` as (N, output rows, output columns, C, Y, X)."""
    (y, w), (height, width) = layer.kernel, layer.output_size
    n, c, down, right = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (len(x), height, width, x.shape[1], y, w),
        (n, down * layer.stride[0], right * layer.stride[1], c, down * layer.dilation[0], right * layer.dilation[1]),
        writeable=False,
    )
