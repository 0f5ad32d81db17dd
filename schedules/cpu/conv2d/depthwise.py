"""Depthwise convolution, NHWC: channels are the vectors, and every input is read once from memory.

The loop nest made:

    parallel task (image, block of channels, lines)
        the padded lines of the task, of its channels                   stays in L1 or L2
        line, tile of a row
            kernel row
                unrolled kernel columns x pixels, vectorised channels   accumulators in registers; loads shared between columns
            unrolled pixels, vectorised channels                        the epilogue, fused into the store
"""
from __future__ import annotations

from dataclasses import astuple, dataclass
from math import ceil

import numpy as np
from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from ...shapes import ConvGeometry, ConvWorkload
from ...tir.analysis import find_annotated
from ...tir.epilogue import inline_epilogue
from ..common import TASKS_PER_CORE
from .compute import pad

ANNOTATION = "tenfold.depthwise"  # of the accumulating block: pixels, rows and vectors of its tile
PIXELS = 6             # accumulators: enough to hide the multiply-add's latency, few enough to leave registers for inputs and weights
MOST_NEON_PIXELS, FEWEST_NEON_PIXELS = 8, 4  # likewise on NEON, where those are best that divide the row
L2_SHARE = 0.5         # of the L2 cache for the padded input of a task


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
    """

    pixels: int
    rows: int
    vectors: int


def lanes_of(channels: int, target: CpuTarget) -> int:
    """Return how many channels a vector has: as many as it can hold, of those that divide all of them."""
    return next(d for d in range(min(target.lanes, channels), 0, -1) if channels % d == 0)


def choose_depthwise(workload: ConvWorkload, target: CpuTarget) -> DepthwiseTile:
    """Return the tile with the largest tasks whose input fits in L2, and that leaves every core enough of them."""
    pixels, lanes = _pixels(workload.output[1], target), lanes_of(workload.channels, target)
    rows, vectors = _task(workload, pixels, lanes, target)
    return DepthwiseTile(pixels, rows, vectors)


def _pixels(width: int, target: CpuTarget) -> int:
    """How many pixels of a row of `width` a tile has."""
    if not target.model.lane_operand:
        return min(PIXELS, width)
    # Of NEON's registers LLVM runs out where the last tile of a row has to be cut: an A72's loop then has 10 to 76 stack accesses.
    whole = [pixels for pixels in range(MOST_NEON_PIXELS, FEWEST_NEON_PIXELS, -1) if width % pixels == 0]
    return whole[0] if whole else min(FEWEST_NEON_PIXELS, width)


def pack_depthwise(weight: np.ndarray) -> np.ndarray:
    """OIHW (C, 1, KH, KW) -> (KH, KW, C)."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def depthwise(data: te.Tensor, weight: te.Tensor, geometry: ConvGeometry, tile: DepthwiseTile) -> te.Tensor:
    """Depthwise convolution as TE: data (N, H, W, C), weight (KH, KW, C) -> (N, OH, OW, C)."""
    batch, height, width, channels = (int(d) for d in data.shape)
    kernel_h, kernel_w, _ = (int(d) for d in weight.shape)
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    out_h, out_w = geometry.output(height, width)
    source = pad(data, geometry.padding)
    ky, kx = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx")
    wide = ceil(out_w / tile.pixels) * tile.pixels

    def product(n: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        x = tirx.min(x, out_w - 1) if wide > out_w else x
        return te.sum(source[n, y * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w, c] * weight[ky, kx, c], axis=[ky, kx])

    acc = te.compute((batch, out_h, wide, channels), product, name="depthwise", attrs={ANNOTATION: list(astuple(tile))})
    return te.compute((batch, out_h, out_w, channels), lambda *i: acc(*i), name="crop")


def schedule_depthwise(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions around `depthwise`, with any element-wise epilogue."""
    s = Schedule(func)
    conv = find_annotated(s, ANNOTATION)
    if conv is None:
        return None
    tile = DepthwiseTile(*(int(v) for v in s.get(conv).annotations[ANNOTATION]))
    lanes = lanes_of(int(s.get(conv).iter_vars[3].dom.extent), target)
    # 1. One block after the accumulators, and its loops.
    out = inline_epilogue(s, conv)
    n, y, x, c = s.get_loops(out)
    y_out, y_in = s.split(y, [None, tile.rows])
    x_out, x_in = s.split(x, [None, tile.pixels])
    c_out, c_mid, lane = s.split(c, [None, tile.vectors, lanes])
    s.reorder(n, y_out, c_out, y_in, x_out, c_mid, x_in, lane)
    task = s.fuse(n, y_out, c_out)
    s.parallel(task)
    s.unroll(x_in)
    s.vectorize(lane)
    # 2. The accumulators of one tile.
    s.compute_at(conv, c_mid, preserve_unit_loops=True)
    *_, x_acc, c_acc, ky, kx = s.get_loops(conv)
    s.reorder(ky, kx, x_acc, c_acc)
    s.unroll(kx)
    s.unroll(x_acc)
    s.vectorize(c_acc)
    s.decompose_reduction(conv, ky)
    # 3. The padded input of a task.
    padded = next((b for b in s.get_child_blocks(s.get_sblock("root")) if s.get(b).name_hint.startswith("padded")), None)
    if padded is not None:
        s.compute_at(padded, task, preserve_unit_loops=True)
        channel = s.get_loops(padded)[-1]
        if int(s.get(channel).extent) % lanes == 0:
            s.vectorize(s.split(channel, [None, lanes])[1])
    return s


def _task(workload: ConvWorkload, pixels: int, lanes: int, target: CpuTarget) -> tuple[int, int]:
    """Rows, and vectors of channels, of a task."""
    batch, (lines, width), vectors = workload.batch, workload.output, workload.channels // lanes
    kernel, stride = workload.geometry.kernel[0], workload.geometry.stride[0]
    row = ceil(width / pixels) * pixels * stride
    blocks = [v for v in range(vectors, 0, -1) if vectors % v == 0]
    for block in blocks:
        for rows in range(lines, 0, -1):
            bytes_ = 4 * ((rows - 1) * stride + kernel) * (row + kernel) * block * lanes
            tasks = batch * ceil(lines / rows) * (vectors // block)
            if bytes_ <= L2_SHARE * target.l2_bytes and tasks >= TASKS_PER_CORE * target.cores and (rows >= kernel or rows == lines):
                return rows, block
    return max(1, min(lines, ceil(lines * batch / target.cores))), 1
