"""Direct convolution as TE, NHWC, with packed weights: any kernel, stride, padding, dilation, groups; fully connected layers too."""
from __future__ import annotations

from math import ceil, prod

import numpy as np
from tvm import te, tirx

from ...shapes import ConvGeometry
from .cost import Tile

ANNOTATION = "tenfold.conv2d"  # of the accumulating block: the tile, as integers
LIMITS = "tenfold.conv2d.limits"  # likewise: output height and width; stride, dilation, and the rows of the padded image
#                                   between which the image lies


def pack_weights(weight: np.ndarray, groups: int, tile: Tile, lanes: int) -> np.ndarray:
    """OIHW -> (group, block, kernel row, kernel column, input channel, output channel of the block).

    Output channels are padded with zeros to whole blocks of `tile.vectors * lanes`.
    """
    filters, channels, height, width = weight.shape
    block = tile.vectors * lanes
    blocks = ceil(filters // groups / block)
    padded = np.zeros((groups, blocks * block, channels, height, width), weight.dtype)
    padded[:, :filters // groups] = weight.reshape(groups, filters // groups, channels, height, width)
    return np.ascontiguousarray(padded.reshape(groups, blocks, block, channels, height, width).transpose(0, 1, 4, 5, 3, 2))


def conv2d(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: Tile) -> te.Tensor:
    """The convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_weights` makes it.

    Returns
    -------
    te.Tensor
        (N, OH, OW, F).
    """
    batch, height, width, _ = (int(d) for d in data.shape)
    height, width = (height - 1) * geometry.upsample[0] + 1, (width - 1) * geometry.upsample[1] + 1
    groups, blocks, kernel_h, kernel_w, channels, block = (int(d) for d in weight.shape)
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    out_h, out_w = geometry.output(height, width)
    source = pad(data, geometry.padding, geometry.upsample)
    per_group = geometry.filters // groups
    ky, kx, ci = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx"), te.reduce_axis((0, channels), "ci")

    def product(n, b, y, x, v):
        value = source[n, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, b // blocks * channels + ci]
        return te.sum(value * weight[b // blocks, b % blocks, ky, kx, ci, v], axis=[ky, kx, ci])

    def block_of(f):
        return f // block if per_group % block == 0 else f // per_group * blocks + f % per_group // block

    annotation = {ANNOTATION: _describe(tile)}
    if tile.flat:
        last = out_h * out_w - 1
        pixels = ceil((last + 1) / tile.pixels) * tile.pixels

        def flat(n, b, p, v):
            p = tirx.min(p, last) if pixels > last + 1 else p
            return product(n, b, p // out_w, p % out_w, v)

        acc = te.compute((batch, groups * blocks, pixels, block), flat, name="conv2d", attrs=annotation)
        return te.compute((batch, out_h, out_w, geometry.filters), lambda n, y, x, f: acc[
            n, block_of(f), y * out_w + x, f % per_group % block], name="crop")
    annotation[LIMITS] = [out_h, out_w, stride_h, dilation_h, geometry.padding[0], geometry.padding[0] + height]
    wide, high = ceil(out_w / tile.pixels) * tile.pixels, ceil(out_h / tile.rows) * tile.rows
    acc = te.compute((batch, groups * blocks, high, wide, block), product, name="conv2d", attrs=annotation)
    return te.compute((batch, out_h, out_w, geometry.filters), lambda n, y, x, f: acc[
        n, block_of(f), y, x, f % per_group % block], name="crop")


def dense(data: te.Tensor, weight: te.Tensor, filters: int, tile: Tile) -> te.Tensor:
    """A fully connected layer as TE: a 1 x 1 convolution whose pixels are all leading axes of `data` (..., C) -> (..., F)."""
    *lead, _ = (int(d) for d in data.shape)
    _, blocks, _, _, channels, block = (int(d) for d in weight.shape)
    count = prod(lead)
    pixels = ceil(count / tile.pixels) * tile.pixels
    ky, kx, ci = te.reduce_axis((0, 1), "ky"), te.reduce_axis((0, 1), "kx"), te.reduce_axis((0, channels), "ci")

    def product(n, b, p, v):
        p = tirx.min(p, count - 1) if pixels > count else p
        return te.sum(data[(*_unravel(p, lead), ci)] * weight[n, b, ky, kx, ci, v], axis=[ky, kx, ci])

    acc = te.compute((1, blocks, pixels, block), product, name="dense", attrs={ANNOTATION: _describe(tile)})
    return te.compute((*lead, filters), lambda *i: acc[0, i[-1] // block, ravel(i[:-1], lead), i[-1] % block], name="crop")


def _describe(tile: Tile) -> list[int]:
    return [tile.pixels, tile.vectors, int(tile.flat), tile.rows, int(tile.weights_inner), int(tile.parallel), int(tile.prefetch)]


def ravel(index, shape):
    """The position in row-major order."""
    position = index[0]
    for i, size in zip(index[1:], shape[1:], strict=True):
        position = position * size + i
    return position


def _unravel(position, shape):
    """The index at a position in row-major order."""
    index = []
    for size in reversed(shape[1:]):
        index.append(position % size)
        position = position // size
    return [position, *reversed(index)]


def pad(data: te.Tensor, padding: tuple[int, int, int, int], upsample: tuple[int, int] = (1, 1)) -> te.Tensor:
    """`data` (N, H, W, C) with zeros between its pixels (`upsample` - 1 of them) and around it, or itself where there are none.

    Negative padding cuts off rows and columns.
    """
    top, left, bottom, right = padding
    up_h, up_w = upsample
    if not any(padding) and upsample == (1, 1):
        return data
    batch, height, width, channels = (int(d) for d in data.shape)
    height, width = (height - 1) * up_h + 1, (width - 1) * up_w + 1

    def value(n, y, x, c):
        inside = [y >= top, y < height + top, x >= left, x < width + left]
        if upsample != (1, 1):
            inside += [tirx.EQ((y - top) % up_h, 0), tirx.EQ((x - left) % up_w, 0)]
        return tirx.if_then_else(tirx.all(*inside), data[n, (y - top) // up_h, (x - left) // up_w, c], tirx.const(0, data.dtype))

    return te.compute((batch, height + top + bottom, width + left + right, channels), value, name="padded")
