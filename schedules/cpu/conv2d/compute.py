"""Direct convolution as TE, NHWC, with packed weights: any kernel, stride, padding, dilation, groups; fully connected layers too."""
from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from .cost import Tile

ANNOTATION = "tenfold.conv2d"  # of the accumulating block: the tile, as integers
# Of the same block: output height and width, vertical stride and dilation, and the first row of the image and the first behind it, in
# rows of the padded image.
LIMITS = "tenfold.conv2d.limits"
UNFOLDED = "unfolded"  # the block that stores pixels of blocks in their places


def pack_weights(weight: np.ndarray, groups: int, tile: Tile, lanes: int) -> np.ndarray:
    """Pack a weight: OIHW -> (group, block, kernel row, kernel column, input channel, output channel of the block).

    Parameters
    ----------
    weight : ndarray
        (F, C / groups, KH, KW).
    groups : int
        Groups of the convolution.
    tile : Tile
        A block is `tile.vectors` vectors of output channels; the last block of a group is filled up with zeros.
    lanes : int
        Numbers in a vector.
    """
    filters, channels, height, width = weight.shape
    block = tile.vectors * lanes
    blocks = ceil(filters // groups / block)
    padded = np.zeros((groups, blocks * block, channels, height, width), weight.dtype)
    padded[:, :filters // groups] = weight.reshape(groups, filters // groups, channels, height, width)
    return np.ascontiguousarray(padded.reshape(groups, blocks, block, channels, height, width).transpose(0, 1, 4, 5, 3, 2))


def conv2d(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: Tile) -> te.Tensor:
    """Write the convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_weights` makes it.
    geometry : ConvGeometry
        The convolution's attributes.
    tile : Tile
        The register tile.

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

    def product(n: ir.Expr, b: ir.Expr, y: ir.Expr, x: ir.Expr, v: ir.Expr) -> ir.Expr:
        value = source[n, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, b // blocks * channels + ci]
        return te.sum(value * weight[b // blocks, b % blocks, ky, kx, ci, v], axis=[ky, kx, ci])

    def block_of(f: ir.Expr) -> ir.Expr:
        return f // block if per_group % block == 0 else f // per_group * blocks + f % per_group // block

    annotation = {ANNOTATION: _describe(tile)}
    if tile.flat:
        last = out_h * out_w - 1
        pixels = ceil((last + 1) / tile.pixels) * tile.pixels

        def flat(n: ir.Expr, b: ir.Expr, p: ir.Expr, v: ir.Expr) -> ir.Expr:
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


def block_weights(weight: np.ndarray) -> np.ndarray:
    """The weight of a transposed convolution whose steps are as long as its kernel, as that of a pointwise one.

    (F, C, KH, KW), turned by 180 degrees as `ConvGeometry.upsample` has it -> (KH * KW * F, C, 1, 1): a filter for each pixel of a block.
    """
    filters, channels, height, width = weight.shape
    turned = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    return np.ascontiguousarray(turned.reshape(height * width * filters, channels, 1, 1))


def unfold_blocks(data: te.Tensor, kernel: tuple[int, int]) -> te.Tensor:
    """The pixels of blocks, which lie side by side as channels, in their places: (N, H, W, KH * KW * F) -> (N, H * KH, W * KW, F)."""
    batch, height, width, channels = (int(d) for d in data.shape)
    rows, columns = kernel
    filters = channels // (rows * columns)
    return te.compute((batch, height * rows, width * columns, filters), lambda n, y, x, f: data[
        n, y // rows, x // columns, (y % rows * columns + x % columns) * filters + f], name=UNFOLDED)


def dense(data: te.Tensor, weight: te.Tensor, filters: int, tile: Tile) -> te.Tensor:
    """Write a fully connected layer as TE: a 1 x 1 convolution whose pixels are all leading axes of the data.

    Parameters
    ----------
    data : te.Tensor
        (..., C).
    weight : te.Tensor
        As `pack_weights` makes it of (F, C, 1, 1).
    filters : int
        F.
    tile : Tile
        The register tile.

    Returns
    -------
    te.Tensor
        (..., F).
    """
    *lead, _ = (int(d) for d in data.shape)
    _, blocks, _, _, channels, block = (int(d) for d in weight.shape)
    count = prod(lead)
    pixels = ceil(count / tile.pixels) * tile.pixels
    ky, kx, ci = te.reduce_axis((0, 1), "ky"), te.reduce_axis((0, 1), "kx"), te.reduce_axis((0, channels), "ci")

    def product(n: ir.Expr, b: ir.Expr, p: ir.Expr, v: ir.Expr) -> ir.Expr:
        p = tirx.min(p, count - 1) if pixels > count else p
        return te.sum(data[tuple([*unravel(p, lead), ci])] * weight[n, b, ky, kx, ci, v], axis=[ky, kx, ci])

    acc = te.compute((1, blocks, pixels, block), product, name="dense", attrs={ANNOTATION: _describe(tile)})
    return te.compute((*lead, filters), lambda *i: acc[0, i[-1] // block, ravel(i[:-1], lead), i[-1] % block], name="crop")


def _describe(tile: Tile) -> list[int]:
    return [tile.pixels, tile.vectors, int(tile.flat), tile.rows, int(tile.weights_inner), int(tile.parallel), int(tile.prefetch)]


def ravel(index: Sequence[ir.Expr], shape: Sequence[int]) -> ir.Expr:
    """The position of an index in row-major order."""
    position = index[0]
    for i, size in zip(index[1:], shape[1:], strict=True):
        position = position * size + i
    return position


def unravel(position: ir.Expr, shape: Sequence[int]) -> list[ir.Expr]:
    """The index at a position in row-major order."""
    index: list[ir.Expr] = []
    for size in reversed(shape[1:]):
        index.append(position % size)
        position = position // size
    return [position, *reversed(index)]


def pad(data: te.Tensor, padding: tuple[int, int, int, int], upsample: tuple[int, int] = (1, 1)) -> te.Tensor:
    """Put zeros around an image and between its pixels; the image itself is returned where there are none.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    padding : tuple of int
        Rows and columns to add at the top, left, bottom, right; negative numbers cut off.
    upsample : tuple of int
        Vertical, horizontal: there are `upsample` - 1 zeros between two pixels.
    """
    top, left, bottom, right = padding
    up_h, up_w = upsample
    if not any(padding) and upsample == (1, 1):
        return data
    batch, height, width, channels = (int(d) for d in data.shape)
    height, width = (height - 1) * up_h + 1, (width - 1) * up_w + 1

    def value(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        inside = [y >= top, y < height + top, x >= left, x < width + left]
        if upsample != (1, 1):
            inside += [tirx.EQ((y - top) % up_h, 0), tirx.EQ((x - left) % up_w, 0)]
        return tirx.if_then_else(tirx.all(*inside), data[n, (y - top) // up_h, (x - left) // up_w, c], tirx.const(0, data.dtype))

    return te.compute((batch, height + top + bottom, width + left + right, channels), value, name="padded")
