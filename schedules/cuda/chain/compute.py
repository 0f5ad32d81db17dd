"""A chain of convolutions as TE, NHWC, each plane between two of them on a grid of its own.

    pointwise -> depthwise (Y x 1, 1 x X or Y x X, one or more) -> pointwise       flattened layers, MobileNet and Xception blocks
    Y x 1 -> 1 x X                                                                 spatial SVD
    pointwise -> Y x X -> pointwise                                                Tucker-2

A block of threads computes a tile of the last convolution, and of each one before it what that needs (a halo is computed more than once).
So a plane between two stages lies tile by tile, each tile with its halo, and with some pixels more where that makes them come out even for
the threads. Pixels outside the image are zeros.

    plane i at (tile, y, x)     the result of stage i at row `step` * tile + y - `begin` of its image, or zero outside
    stage i + 1                 reads plane i at (tile, y * stride + ky * dilation, x * stride + kx * dilation)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, inf, prod
from typing import Any

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ...steps import Step, activated
from ..common import VECTOR

ANNOTATION = "tenfold.cuda.chain"  # of the block of the last sums: the tile's rows and columns, and threads
SOURCE, SUMS, PLANE, RESULT = "source", "sums", "plane", "result"  # names of blocks; those of stages end in their number
CHANNELS = 8  # of the input of a stage, that are in shared memory at a time
MOST_PIXELS = 8  # of a row, that a thread computes
MOST_MORE = 4  # rows, and columns, by which a plane is made larger so that it comes out even


@dataclass(frozen=True)
class ChainStage:
    """One convolution of a chain: depthwise, of one group, or behind the first one of groups of whole vectors.

    Attributes
    ----------
    geometry : ConvGeometry
    channels : int
        Of its input.
    size : tuple of int
        Height and width of its output.
    steps : tuple of Step
        Behind it, as part of the kernel.
    """

    geometry: ConvGeometry
    channels: int
    size: tuple[int, int]
    steps: tuple[Step, ...] = ()

    @property
    def depthwise(self) -> bool:
        """Whether it works channel by channel."""
        return self.geometry.groups == self.channels == self.geometry.filters > 1

    @property
    def depth(self) -> int:
        """Channels of its input that each filter reads."""
        return self.channels // self.geometry.groups

    @property
    def taps(self) -> int:
        """Positions of its kernel."""
        return self.geometry.kernel[0] * self.geometry.kernel[1]


@dataclass(frozen=True)
class ChainTile:
    """Rows and columns of the result that a block computes, and its threads."""

    rows: int
    columns: int
    threads: int


@dataclass(frozen=True)
class Part:
    """What a block has of a plane.

    Attributes
    ----------
    size : tuple of int
        Rows and columns.
    step : tuple of int
        From a tile to the next one, down and across.
    begin : tuple of int
        Pixels of the first tile before the image, above and to the left.
    """

    size: tuple[int, int]
    step: tuple[int, int]
    begin: tuple[int, int]


def parts(stages: Sequence[ChainStage], tile: ChainTile) -> list[Part]:
    """What a block has of the image, and of the plane behind each stage."""
    found = [Part((tile.rows, tile.columns), (tile.rows, tile.columns), (0, 0))]
    for index in reversed(range(len(stages))):
        behind, geometry = found[0], stages[index].geometry
        span = [(geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1 for axis in (0, 1)]
        size = [(behind.size[axis] - 1) * geometry.stride[axis] + span[axis] for axis in (0, 1)]
        if index:
            size = list(rounded((size[0], size[1]), stages[index - 1], tile.threads))
        step = [behind.step[axis] * geometry.stride[axis] for axis in (0, 1)]
        begin = [behind.begin[axis] * geometry.stride[axis] + geometry.padding[axis] for axis in (0, 1)]
        found.insert(0, Part((size[0], size[1]), (step[0], step[1]), (begin[0], begin[1])))
    return found


def side_by_side(filters: int, threads: int) -> int:
    """How many groups of four filters neighbouring threads compute of one pixel."""
    return gcd(filters // VECTOR, threads)


def pixels_of(size: tuple[int, int], filters: int, threads: int, depthwise: bool) -> int | None:
    """How many pixels of a row a thread computes, so that all threads have as many: the most; None where that can't be.

    Parameters
    ----------
    size : tuple of int
        Rows and columns of a plane.
    filters : int
    threads : int
        Of a block.
    depthwise : bool
    """
    groups = threads // side_by_side(filters, threads)
    most = 1 if depthwise else MOST_PIXELS
    return next((own for own in range(most, 0, -1) if size[1] % own == 0 and size[0] * (size[1] // own) % groups == 0), None)


def rounds(size: tuple[int, int], filters: int, threads: int, own: int) -> tuple[int, int]:
    """How often the threads of a block go over the filters of a plane, and over its pixels.

    Parameters
    ----------
    size : tuple of int
        Rows and columns of the plane.
    filters : int
    threads : int
        Of a block.
    own : int
        Pixels that a thread computes at a time, as `pixels_of` says.
    """
    beside = side_by_side(filters, threads)
    return filters // VECTOR // beside, prod(size) // own // (threads // beside)


def rounded(size: tuple[int, int], stage: ChainStage, threads: int) -> tuple[int, int]:
    """The plane of at least such a size that comes out even for the threads of the stage that computes it, and takes them least.

    It is returned as it is where none comes out even.
    """
    def effort(wanted: tuple[int, int]) -> float:
        own = pixels_of(wanted, stage.geometry.filters, threads, stage.depthwise)
        return prod(wanted) * (1 + VECTOR / own) if own else inf

    larger = product(range(size[0], size[0] + MOST_MORE + 1), range(size[1], size[1] + MOST_MORE + 1))
    return min(larger, key=lambda wanted: (effort(wanted), wanted))


def pack_stage(weight: np.ndarray, stage: ChainStage) -> np.ndarray:
    """Pack a weight: OIHW -> (kernel row, kernel column, input channel, filter), or of a depthwise stage (row, column, channel)."""
    packed = weight.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(packed[:, :, 0] if stage.depthwise else packed)


def chain(data: te.Tensor, weights: Sequence[te.Tensor], operands: Sequence[te.Tensor], stages: Sequence[ChainStage],
          tile: ChainTile) -> te.Tensor:
    """Write the chain as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weights : sequence of te.Tensor
        One a stage, as `pack_stage` makes it.
    operands : sequence of te.Tensor
        What the steps of the stages name by number.
    stages : sequence of ChainStage
    tile : ChainTile

    Returns
    -------
    te.Tensor
        (N, OH, OW, F) of the last stage; the steps behind that one are not in it.
    """
    batch, height, width, channels = (int(size) for size in data.shape)
    (out_h, out_w), filters = stages[-1].size, stages[-1].geometry.filters
    tiles = (batch, -(-out_h // tile.rows), -(-out_w // tile.columns))
    plan = parts(stages, tile)
    plane = _plane(SOURCE, (*tiles, *plan[0].size, channels), plan[0], (height, width), lambda n, _ty, _tx, y, x, c: data[n, y, x, c])
    for index, (stage, weight, part) in enumerate(zip(stages, weights, plan[1:], strict=True)):
        last = index == len(stages) - 1
        attrs = {ANNOTATION: [tile.rows, tile.columns, tile.threads]} if last else {}
        sums = _sums(plane, weight, stage, (*tiles, *part.size, stage.geometry.filters), f"{SUMS}{index}", attrs)
        if not last:
            plane = _activated(sums, stage, operands, part, f"{PLANE}{index}")
    return te.compute((batch, out_h, out_w, filters), lambda n, y, x, f: sums[
        n, y // tile.rows, x // tile.columns, y % tile.rows, x % tile.columns, f], name=RESULT)


def _sums(plane: te.Tensor, weight: te.Tensor, stage: ChainStage, shape: tuple[int, ...], name: str, attrs: dict[str, Any]) -> te.Tensor:
    """The products of a stage, added up."""
    (stride_h, stride_w), (dilation_h, dilation_w) = stage.geometry.stride, stage.geometry.dilation
    ky, kx = te.reduce_axis((0, stage.geometry.kernel[0]), "ky"), te.reduce_axis((0, stage.geometry.kernel[1]), "kx")
    if stage.depthwise:
        return te.compute(shape, lambda n, ty, tx, y, x, f: te.sum(
            plane[n, ty, tx, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, f] * weight[ky, kx, f], axis=[ky, kx]),
            name=name, attrs=attrs)  # fmt: skip
    ci, own = te.reduce_axis((0, stage.depth), "ci"), stage.geometry.filters // stage.geometry.groups

    def product(n: ir.Expr, ty: ir.Expr, tx: ir.Expr, y: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        channel = ci if stage.geometry.groups == 1 else f // own * stage.depth + ci
        value = plane[n, ty, tx, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, channel]
        return te.sum(value * weight[ky, kx, ci, f], axis=[ci, ky, kx])

    return te.compute(shape, product, name=name, attrs=attrs)


def _activated(sums: te.Tensor, stage: ChainStage, operands: Sequence[te.Tensor], part: Part, name: str) -> te.Tensor:
    """The plane behind a stage."""
    shape = tuple(int(size) for size in sums.shape)
    return _plane(name, shape, part, stage.size, lambda n, ty, tx, y, x, f: activated(sums[n, ty, tx, y, x, f], stage.steps, operands, f),
                  inner=True)


def _plane(
    name: str, shape: tuple[int, ...], part: Part, size: tuple[int, int], read: Callable[..., ir.Expr], inner: bool = False
) -> te.Tensor:
    """An image tile by tile, with zeros around it; `read` gets a pixel of the image, or of the tile where it is `inner`."""
    count = shape[1:3]
    reach = [part.step[axis] * (count[axis] - 1) + part.size[axis] - part.begin[axis] for axis in (0, 1)]

    def value(n: ir.Expr, ty: ir.Expr, tx: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        at = (ty * part.step[0] + y - part.begin[0], tx * part.step[1] + x - part.begin[1])
        inside = [condition for axis in (0, 1) for needed, condition in (
            (part.begin[axis] > 0, at[axis] >= 0), (reach[axis] > size[axis], at[axis] < size[axis])) if needed]  # fmt: skip
        pixel = read(n, ty, tx, y, x, c) if inner else read(n, ty, tx, *at, c)
        return tirx.if_then_else(tirx.all(*inside), pixel, tirx.const(0, "float32")) if inside else pixel

    return te.compute(shape, value, name=name)
