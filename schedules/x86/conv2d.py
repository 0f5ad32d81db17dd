"""Direct convolution, NHWC, with packed weights: any kernel, stride, padding, dilation, groups; fully connected layers too.

The loop nest made (rows: lines are rows of the image; flat: lines are register tiles):

    parallel task (image, block of output channels, lines)              tile.rows lines each
        line, tile of a row
            kernel row, kernel column, input channel
                unrolled pixels x vectors, vectorised lanes             the register tile
            unrolled pixels x vectors, vectorised lanes                 the epilogue, fused into the store

The last tile of a row has the pixels that are left, in code of its own; kernel rows that meet nothing but padding are passed over.
Flat, pixels beyond the end of the image are computed from valid memory and dropped by the epilogue.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np
import tvm_ffi
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.s_tir.stmt import SBlock

from ...targets import Target
from .epilogue import inline_epilogue
from .tiles import ConvShape, Tile

ANNOTATION = "tenfold.conv2d"  # of the accumulating block: the tile, as integers
LIMITS = "tenfold.conv2d.limits"  # likewise: output height and width; stride, dilation, and the rows of the padded image
#                                   between which the image lies


@dataclass(frozen=True)
class Geometry:
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


def conv2d(data: te.Tensor, weight: te.Tensor, geometry: Geometry, tile: Tile) -> te.Tensor:
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
    return te.compute((*lead, filters), lambda *i: acc[0, i[-1] // block, _ravel(i[:-1], lead), i[-1] % block], name="crop")


def _describe(tile: Tile) -> list[int]:
    return [tile.pixels, tile.vectors, int(tile.flat), tile.rows, int(tile.weights_inner), int(tile.parallel)]


def _ravel(index, shape):
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


def schedule_padding(s: Schedule, lanes: int, parallel: bool) -> None:
    """The padded copy, where there is one: parallel over rows, whole vectors of channels."""
    block = next((b for b in s.get_child_blocks(s.get_sblock("root")) if s.get(b).name_hint.startswith("padded")), None)
    if block is None:
        return
    n, y, x, c = s.get_loops(block)
    channels = int(s.get(c).extent)
    if channels % lanes == 0:
        _, lane = s.split(c, [None, lanes])
        s.vectorize(lane)
    s.parallel(s.fuse(n, y))


def schedule_conv2d(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """Rule for functions around `conv2d`, with any element-wise epilogue."""
    s = Schedule(func)
    conv = find_annotated(s, ANNOTATION)
    if conv is None:
        return None
    pixels, vectors, flat, rows, weights_inner, parallel = (int(v) for v in s.get(conv).annotations[ANNOTATION])
    # 1. One block after the accumulators: crop, bias, activation, residual.
    out = inline_epilogue(s, conv)
    if whole_blocks(s, conv, out):
        # 2. Its loops: tasks, then lines, tiles, pixels, and the channels of a block as vectors. The accumulators of a tile stay
        # in registers from the first product to the epilogue.
        order, inner = _split_output(s, out, conv, target.lanes, bool(flat), pixels, rows)
        *_, tile, pixel, vector, lane = inner
        task = s.fuse(*_tasks(s, order, inner, bool(weights_inner)))
        s.unroll(pixel)
        s.unroll(vector)
        s.vectorize(lane)
        s.compute_at(conv, tile, preserve_unit_loops=True)
    else:
        # 2. Channels that don't fill the last block: the accumulators in a nest of their own, cut to size in a second one.
        order, inner = _split_accumulators(s, conv, bool(flat), pixels, rows)
        tile = inner[-6]
        task = s.fuse(*_tasks(s, order, inner, bool(weights_inner)))
        if parallel:
            s.parallel(s.fuse(*s.get_loops(out)[:2]))
    if parallel:
        s.parallel(task)
    # 3. A register tile: unrolled, vectorised.
    pixel, channel, ky, kx, ci = s.get_loops(conv)[-5:]
    vector, lane = s.split(channel, [None, target.lanes])
    s.reorder(ky, kx, ci, pixel, vector, lane)
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    s.decompose_reduction(conv, ky)
    # 4. What comes before.
    schedule_padding(s, target.lanes, bool(parallel))
    return s if flat else _limited(s, conv, tile, pixels)


def _limited(s: Schedule, conv: SBlockRV, tile: LoopRV, pixels: int) -> Schedule:
    """Leave out products of pixels that are not there, and of kernel rows that lie on zeros of the padding.

    A tile lies in one row of the image, so its pixels agree on the kernel rows. No schedule primitive makes a block conditional:
    its body is replaced in the finished function. The loop over tiles is split where the answer changes.
    """
    name = s.get(conv).name_hint
    *_, high, wide, _, kernel, _, _ = (int(v.dom.extent) for v in s.get(conv).iter_vars)
    height, width, stride, dilation, begin, end = (int(v) for v in s.get(conv).annotations[LIMITS])
    if wide > width:
        s.annotate(tile, "pragma_loop_partition_hint", 1)

    def limited(block: SBlock) -> SBlock:
        if block.name_hint != name:
            return block
        *_, y, x, _channel, ky, _kx, _ci = (v.var for v in block.iter_vars)
        row = y * stride + ky * dilation
        conditions = [(wide > width, x < width), (high > height, y < height), (begin > 0, row >= begin),
                      ((height - 1) * stride + (kernel - 1) * dilation >= end, row < end)]
        needed = [condition for can_fail, condition in conditions if can_fail]
        return with_body(block, tirx.IfThenElse(tirx.all(*needed), block.body, None)) if needed else block

    func = s.mod["main"]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, (SBlock, limited), order="post")))


def with_body(block: SBlock, body: tirx.Stmt) -> SBlock:
    """The block with another body."""
    return SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, body, block.init, block.alloc_buffers, block.match_buffers,
                  block.annotations)


def find_annotated(s: Schedule, key: str) -> SBlockRV | None:
    """The block that carries an annotation."""
    for block in s.get_child_blocks(s.get_sblock("root")):
        if key in s.get(block).annotations:
            return block
    return None


def whole_blocks(s: Schedule, conv: SBlockRV, out: SBlockRV) -> bool:
    """Whether the output's channels fill the accumulators' blocks, so that both can share their loops."""
    _, blocks, *_, block = (int(v.dom.extent) for v in s.get(conv).iter_vars if v.iter_type == tirx.IterVar.DataPar)
    return int(s.get(out).iter_vars[-1].dom.extent) == blocks * block


def _split_output(s, out, conv, lanes, flat, pixels, rows):
    """The output's loops: (image, block, lines) of tasks; lines, tiles, pixels, vector, lane within a task."""
    blocks = int(s.get(conv).iter_vars[1].dom.extent)
    if flat:
        n, line, f = _flat_output(s, out, conv)
        line_out, *inner = s.split(line, [None, rows, pixels])
    else:
        n, y, x, f = s.get_loops(out)
        line_out, line = s.split(y, [None, rows])
        inner = [line, *s.split(x, [None, pixels])]
    block, vector, lane = s.split(f, [blocks, None, lanes])
    return [n, block, line_out], [*inner, vector, lane]


def _flat_output(s, out, conv):
    """Loops (image, pixel, channel) of the output: a convolution's rows in a line, a dense layer's leading axes in a line."""
    shape = [int(v.dom.extent) for v in s.get(out).iter_vars[:-1]]
    if s.get(conv).name_hint.startswith("dense"):
        dtype = str(s.get(out).iter_vars[0].var.ty.dtype)
        in_a_line = tirx.IndexMap.from_func(lambda *i: (_ravel(i[:-1], shape), i[-1]), ndim=len(shape) + 1, index_dtype=dtype)
        s.transform_block_layout(out, in_a_line)
        line, f = s.get_loops(out)
        return s.add_unit_loop(line), line, f
    s.transform_block_layout(out, lambda n, y, x, f: (n, y * shape[2] + x, f))
    return s.get_loops(out)


def _tasks(s, outer, inner, weights_inner):
    """Bring the loops over tasks to the front, in the order in which threads take them."""
    n, block, line = outer
    order = [n, line, block] if weights_inner else [n, block, line]
    s.reorder(*order, *inner)
    return order


def _split_accumulators(s, conv, flat, pixels, rows):
    """Loops of the accumulators without an output to follow: (image, block, lines), and those within a task."""
    n, block, *space, channel, ky, kx, ci = s.get_loops(conv)
    if flat:
        line_out, *inner = s.split(space[0], [None, rows, pixels])
    else:
        line_out, line = s.split(space[0], [None, rows])
        inner = [line, *s.split(space[1], [None, pixels])]
    return [n, block, line_out], [*inner, channel, ky, kx, ci]
