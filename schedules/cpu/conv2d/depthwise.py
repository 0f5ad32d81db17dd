"""Depthwise convolution, NHWC: channels are the vectors, and the image is read where it lies, without a padded copy.

So are convolutions whose groups have as many filters as channels, of which a vector holds several: there the channel of its group that a
filter is multiplied with comes from the vector of the input by a shuffle (`tir/lane_groups.py`).

The loop nest made:

    parallel task (image, lines, block of channels)
        vector of channels, line, tile of a row                         or: line, tile of a row, vector of channels
            kernel row
                unrolled kernel columns x pixels, vectorised channels   accumulators in registers; loads shared between columns
                    channel of the group
            unrolled pixels, vectorised channels                        the epilogue, fused into the store

Kernel rows that meet nothing but padding are left out. Tiles at the ends of a row have code of their own, without the products that meet
padding or belong to no pixel, and so has a last vector that the channels don't fill.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from math import ceil, gcd

import numpy as np
from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock

from ....targets import CpuTarget
from ...shapes import ConvGeometry, ConvWorkload
from ...tir.analysis import find_annotated
from ...tir.bound_loops import ALIKE, EACH, SPLIT
from ...tir.epilogue import inline_epilogue
from ...tir.lane_groups import LANE_GROUPS
from ..common import TASKS_PER_CORE
from ..predicates import with_conditions
from .depthwise_pixels import depthwise_pixels

ANNOTATION = "tenfold.depthwise"  # of the accumulating block: the tile, as integers
# Of the same block: output height and width, channels, strides, dilations, rows and columns of padding before the image, its own size.
LIMITS = "tenfold.depthwise.limits"
LANES = "tenfold.depthwise.lanes"  # of the same block, where vectors have another number of channels than those of float32
MOST_NEON_PIXELS, FEWEST_NEON_PIXELS = 8, 4  # likewise on NEON, where those are best that divide the row
GROUPED_PIXELS = 4     # of groups that share vectors: with 5, LLVM keeps accumulators in memory, beside the weights of a kernel row
L2_SHARE = 0.5         # of the L2 cache for the input of a task


@dataclass(frozen=True)
class DepthwiseTile:
    """What one task computes.

    Attributes
    ----------
    pixels : int
        Accumulators: pixels of one row.
    rows : int
        Rows of a task.
    vectors : int
        Vectors of channels of a task, a divisor of those that there are.
    channels_outer : bool
        A task computes all its lines for one vector of channels after the other: right where L1 holds what one of them reads for a line.
        Otherwise all its vectors for one tile after the other.
    """

    pixels: int
    rows: int
    vectors: int
    channels_outer: bool = False


def vectors_of(channels: int, target: CpuTarget) -> int:
    """Return how many vectors all channels take; the last one need not be full."""
    return ceil(channels / target.lanes)


def shares_vectors(workload: ConvWorkload, target: CpuTarget) -> bool:
    """Whether a convolution has groups, of which a vector holds several, with as many filters as channels."""
    geometry = workload.geometry
    size = workload.channels // geometry.groups
    plain = geometry.upsample == (1, 1) and not workload.gathered
    return plain and geometry.filters == workload.channels and 1 < size < target.lanes and target.lanes % size == 0


def choose_depthwise(workload: ConvWorkload, target: CpuTarget) -> DepthwiseTile:
    """Return the tile with the largest tasks whose input fits in L2, and that leaves every core enough of them."""
    pixels = _pixels(workload, target)
    rows, vectors = _task(workload, pixels, target)
    return DepthwiseTile(pixels, rows, vectors, _stays_near(workload, target))


def _pixels(workload: ConvWorkload, target: CpuTarget) -> int:
    """How many pixels of a row a tile has."""
    width = workload.output[1]
    if not workload.depthwise:
        return min(GROUPED_PIXELS, width)
    if not target.model.lane_operand:
        return min(depthwise_pixels(workload, target), width)
    # Of NEON's registers LLVM runs out where the last tile of a row has to be cut: an A72's loop then has 10 to 76 stack accesses.
    whole = [pixels for pixels in range(MOST_NEON_PIXELS, FEWEST_NEON_PIXELS, -1) if width % pixels == 0]
    return whole[0] if whole else min(FEWEST_NEON_PIXELS, width)


def pack_depthwise(weight: np.ndarray, lanes: int = 1) -> np.ndarray:
    """OIHW (C, 1, KH, KW) -> (KH, KW, C), filled up with zeros to whole vectors; (C, G, KH, KW) of groups of G -> (KH, KW, G, C)."""
    channels, per_group, height, width = weight.shape
    packed = np.zeros((height, width, per_group, ceil(channels / lanes) * lanes), weight.dtype)
    packed[..., :channels] = weight.transpose(2, 3, 1, 0)
    return packed if per_group > 1 else packed[:, :, 0]


def depthwise(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: DepthwiseTile,
              multiply: Callable[[ir.Expr, ir.Expr], ir.Expr] | None = None) -> te.Tensor:
    """Depthwise convolution as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        As `pack_depthwise` makes it.
    geometry : ConvGeometry
        The convolution's attributes.
    tile : DepthwiseTile
        What one task computes.
    multiply : callable, optional
        From an element of the data and a weight to their product. Padding counts as a product of 0.

    Returns
    -------
    te.Tensor
        (N, OH, OW, C).
    """
    batch, height, width, channels = (int(d) for d in data.shape)
    kernel_h, kernel_w, *per_group, padded = (int(d) for d in weight.shape)
    (stride_h, stride_w), (dilation_h, dilation_w), (top, left, *_) = geometry.stride, geometry.dilation, geometry.padding
    out_h, out_w = geometry.output(height, width)
    ky, kx = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx")
    within = [te.reduce_axis((0, count), "ci") for count in per_group]
    wide, high = ceil(out_w / tile.pixels) * tile.pixels, ceil(out_h / tile.rows) * tile.rows

    def product(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        channel = c // per_group[0] * per_group[0] + within[0] if within else c
        value = data[n, y * stride_h + ky * dilation_h - top, x * stride_w + kx * dilation_w - left, channel]
        factor = weight(ky, kx, *within, c)
        return te.sum(value * factor if multiply is None else multiply(value, factor), axis=[ky, kx, *within])

    limits = [out_h, out_w, channels, stride_h, stride_w, dilation_h, dilation_w, top, left, height, width]
    acc = te.compute((batch, high, wide, padded), product, name="depthwise", attrs={
        ANNOTATION: [int(v) for v in astuple(tile)], LIMITS: limits})
    return te.compute((batch, out_h, out_w, channels), lambda *i: acc(*i), name="crop")


def schedule_depthwise(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions around `depthwise`, with any element-wise epilogue."""
    s = Schedule(func)
    conv = find_annotated(s, ANNOTATION)
    if conv is None:
        return None
    pixels, rows, vectors, channels_outer = (int(v) for v in s.get(conv).annotations[ANNOTATION])
    # 1. One block after the accumulators, and its loops.
    out = inline_epilogue(s, conv)
    n, y, x, c = s.get_loops(out)
    y_out, y_in = s.split(y, [None, rows])
    x_out, x_in = s.split(x, [None, pixels])
    lanes = int(s.get(conv).annotations.get(LANES, target.lanes))
    c_out, c_mid, lane = s.split(c, [None, vectors, lanes])
    around = [c_mid, y_in, x_out] if channels_outer else [y_in, x_out, c_mid]
    s.reorder(n, y_out, c_out, *around, x_in, lane)
    s.parallel(s.fuse(n, y_out, c_out))
    s.unroll(x_in)
    s.vectorize(lane)
    s.annotate(x_out, SPLIT, EACH)
    if int(s.get(out).iter_vars[3].dom.extent) % lanes:
        s.annotate(c_mid, SPLIT, ALIKE)
    # 2. The accumulators of one tile.
    s.compute_at(conv, around[-1], preserve_unit_loops=True)
    reduced = sum(v.iter_type == tirx.IterVar.CommReduce for v in s.get(conv).iter_vars)
    x_acc, c_acc, ky, kx, *within = s.get_loops(conv)[-2 - reduced:]
    s.reorder(ky, kx, x_acc, c_acc, *within)
    if within:
        s.annotate(c_acc, LANE_GROUPS, int(s.get(within[0]).extent))
    s.unroll(kx)
    s.unroll(x_acc)
    s.vectorize(c_acc)
    s.decompose_reduction(conv, ky)
    # 3. Products with padding are left out.
    return with_conditions(s, {s.get(conv).name_hint: _on_image})


def _on_image(block: SBlock) -> ir.Expr | None:
    """Whether a product is needed: its output exists, and the tap meets the image."""
    out_h, out_w, channels, stride_h, stride_w, dilation_h, dilation_w, top, left, height, width = (
        int(v) for v in block.annotations[LIMITS])
    _, y, x, c, ky, kx = (v.var for v in block.iter_vars[:6])
    _, high, wide, padded, kernel_h, kernel_w = (int(v.dom.extent) for v in block.iter_vars[:6])
    row, column = y * stride_h + ky * dilation_h - top, x * stride_w + kx * dilation_w - left
    conditions = [
        (high > out_h, y < out_h), (wide > out_w, x < out_w), (padded > channels, c < channels),
        (top > 0, row >= 0), (left > 0, column >= 0),
        ((out_h - 1) * stride_h + (kernel_h - 1) * dilation_h - top >= height, row < height),
        ((out_w - 1) * stride_w + (kernel_w - 1) * dilation_w - left >= width, column < width),
    ]
    needed = [condition for can_fail, condition in conditions if can_fail]
    return tirx.all(*needed) if needed else None


def _task(workload: ConvWorkload, pixels: int, target: CpuTarget) -> tuple[int, int]:
    """Rows, and vectors of channels, of a task."""
    batch, (lines, width), vectors = workload.batch, workload.output, vectors_of(workload.channels, target)
    kernel, stride = workload.geometry.kernel[0], workload.geometry.stride[0]
    row = ceil(width / pixels) * pixels * stride
    for block in blocks_of_vectors(workload.channels, target):
        for rows in range(lines, 0, -1):
            bytes_ = 4 * ((rows - 1) * stride + kernel) * (row + kernel) * block * target.lanes
            tasks = batch * ceil(lines / rows) * (vectors // block)
            if bytes_ <= L2_SHARE * target.l2_bytes and tasks >= TASKS_PER_CORE * target.cores and (rows >= kernel or rows == lines):
                return rows, block
    return max(1, min(lines, ceil(lines * batch / target.cores))), block


def blocks_of_vectors(channels: int, target: CpuTarget) -> list[int]:
    """How many vectors of channels a task may have, most first. Where the last one is not full, a task has all of them."""
    vectors = vectors_of(channels, target)
    return [vectors] if channels % target.lanes else [v for v in range(vectors, 0, -1) if vectors % v == 0]


def _stays_near(workload: ConvWorkload, target: CpuTarget) -> bool:
    """Whether L1 holds what one vector of channels reads for a line, so that the next line finds it there: a cache line of each pixel.

    Pixels lie so far apart that they may share few of its sets. Vectors that are not whole cache lines share lines with their neighbours.
    """
    cpu = target.model
    pixel_bytes, (kernel_h, kernel_w), (_, dilation_w) = 4 * workload.channels, workload.geometry.kernel, workload.geometry.dilation
    columns = min(workload.size[1], workload.output[1] * workload.geometry.stride[1] + (kernel_w - 1) * dilation_w)
    sets = cpu.way_bytes // max(cpu.line_bytes, gcd(pixel_bytes, cpu.way_bytes))
    ways = target.l1_bytes // cpu.way_bytes
    return pixel_bytes % cpu.line_bytes == 0 and kernel_h * columns <= sets * ways
