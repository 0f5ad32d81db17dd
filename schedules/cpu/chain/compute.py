"""A chain of convolutions in one kernel, NHWC: what lies between them never leaves the cache of the core that made it.

A task computes rows of the last convolution, and for every convolution before it the rows that these need (rows at the border between two
tasks are computed twice). It takes a strip of a few rows after the other, and keeps the rows that the next strip reads too (`sliding`).
Between two convolutions stands a plane, private to the task: the activated rows of a strip, their channels as the next convolution reads
them best (`chain_stage`), rows of padding as zeros. Columns of padding are not stored: products with them are left out.

    pointwise -> depthwise (Y x 1, 1 x X or Y x X, one or more) -> pointwise       flattened layers, MobileNet and Xception blocks
    Y x 1 -> 1 x X                                                                 spatial SVD
    pointwise -> Y x X -> pointwise                                                Tucker-2; grouped: biclustering
    pointwise -> Y x X in as many groups as it has channels                        monochromatic
    any of them -> max-pooling                                                     a depthwise stage without weights
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from math import ceil

import numpy as np
from tvm import ir, te, tirx

from ...backend import EpilogueStep
from ...operators import ELEMENTWISE, has_operand
from ...shapes import ConvGeometry
from .stage import ChainStage, ChannelLayout, layouts

RESULT = "result"  # the block of a task's rows that are transposed on their way out
SUMS = "sums"      # the block that adds up a task's pixels; "total" is of all tasks
ANNOTATION = "tenfold.chain"  # of an accumulating block: pixels and vectors of its tile, how many groups are interleaved, blocks of such a
#                               set of groups, strips of a task, `again` and `kept` of the rows it reads, and `Limits`, as integers


@dataclass(frozen=True, order=True)
class Cut:
    """How the result's rows are cut: a task is `strips` strips of `rows` rows each, one after the other."""

    rows: int
    strips: int = 1


@dataclass(frozen=True)
class Lines:
    """Rows of one stage's output that strip t works on: `count` of them from row t * `step` - `before` on.

    The first `again` of them are there from the strip before, if it is of the same task, or are not read again; of these, the last `kept`
    are read.
    """

    count: int
    step: int
    before: int
    again: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Limits:
    """Which products of an accumulating block count; all others meet padding, or pixels beyond the end of a row or of the image.

    Row t * `step` - `before` + r of the output lies in [0, `height`), column x in [0, `width`); row
    t * `in_step` - `in_before` + r * `stride_h` + ky * `dilation_h` of the input lies in [0, `in_height`), column
    x * `stride_w` + kx * `dilation_w` - `in_left` in [0, `in_width`). An `in_height` of 0 stands for rows that are zero where they
    lie outside.
    """

    step: int
    before: int
    height: int
    width: int
    in_step: int
    in_before: int
    in_height: int
    in_left: int
    in_width: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int


def lines(geometries: Sequence[ConvGeometry], rows: int) -> list[Lines]:
    """Rows of every stage's output, after those of the chain's input, for strips of `rows` rows of the last."""
    found = [Lines(rows, rows, 0)]
    for geometry in reversed(geometries):
        behind, stride = found[0], geometry.stride[0]
        span = (geometry.kernel[0] - 1) * geometry.dilation[0] + 1
        count, step, read_from = (behind.count - 1) * stride + span, behind.step * stride, behind.again * stride
        kept = max(0, count - step - read_from)
        found.insert(0, Lines(count, step, behind.before * stride + geometry.padding[0], read_from + kept, kept))
    return found


@dataclass(frozen=True)
class Ends:
    """Whether the image that a chain reads, and the one that it writes, lie as (N, C, H, W): tasks then transpose their own rows.

    A first stage that is not depthwise can also read its image `in_place`, number by number, each for all filters.
    """

    source_nchw: bool = False
    result_nchw: bool = False
    in_place: bool = False


CHANNELS_LAST = Ends()


def chain(data: te.Tensor, weights: Sequence[te.Tensor], operands: Sequence[te.Tensor], stages: Sequence[ChainStage], cut: Cut,
          lanes: int, ends: Ends = CHANNELS_LAST, averages: bool = False) -> te.Tensor:
    """The chain as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), or (N, C, H, W) as `ends` says.
    weights : sequence of te.Tensor
        As `pack_chain` makes them, of the stages that have any.
    operands : sequence of te.Tensor
        Values per channel that the stages' steps name, as `ChannelLayout.spread` makes them for their stage, for the last one only where
        it `adds_up_in_own_order`; tables of places (int32).
    stages : sequence of ChainStage
        The last has no steps, unless the result lies as (N, C, H, W) or is an average: what follows it is fused like that of any
        convolution. Its blocks have the same number of channels each (`ChainStage.spread_evenly`).
    cut : Cut
        Of the last stage's rows. Strips of all tasks together fill whole tasks.
    lanes : int
        Of a vector.
    ends : Ends
        How the images at both ends lie.
    averages : bool
        The result is the average over all pixels.

    Returns
    -------
    te.Tensor
        (N, OH, OW, F), or (N, F, OH, OW); of averages (N, 1, 1, F).
    """
    batch, height, width = (int(data.shape[axis]) for axis in ((0, 2, 3) if ends.source_nchw else (0, 1, 2)))
    rows = cut.rows
    spans = lines([stage.geometry for stage in stages], rows)
    sizes = [(height, width)]
    for stage in stages:
        sizes.append(stage.geometry.output(*sizes[-1]))
    outer = (batch, ceil(sizes[-1][0] / rows))
    copied = stages[0].depthwise and stages[0].geometry.kernel[0] > 1  # it has little work between two tests of whether a row exists
    copied |= ends.source_nchw and not ends.in_place
    plane = _image(data, spans[0], outer[1], copied, ends.source_nchw)
    unused = iter(weights)
    for i, (stage, layout) in enumerate(zip(stages, layouts(stages, lanes), strict=True)):
        if stage.table is not None:
            plane = _reordered(plane, operands[stage.table])
        weight = None if stage.pools else next(unused)
        acc = _accumulate(plane, weight, stage, (*outer, cut.strips), spans[i : i + 2], sizes[i : i + 2], lanes)
        if i + 1 < len(stages):
            beyond = float("-inf") if stages[i + 1].pools else 0.0
            plane = _plane(acc, stage, layout, operands, spans[i + 1], sizes[i + 1], beyond, f"plane{i}")

    def result(n, t, r, x, f):
        block, lane = _where(f, stages[-1], lanes)
        return acc[n, t, block, r, x, lane]

    filters, (height, width) = stages[-1].geometry.filters, sizes[-1]
    if averages:
        last, block = stages[-1], stages[-1].block(lanes)
        own = last.adds_up_in_own_order

        def finished(n, t, r, x, f):
            value = acc[n, t, f // block, r, x, f % block] if own else result(n, t, r, x, f)
            return activated(value, last.steps, operands, f)

        def place(f):
            of_block, lane = _where(f, last, lanes)
            return of_block * block + lane if own else f

        return _average(finished, outer, (rows, last.pixels), sizes[-1], filters, place)
    if not ends.result_nchw:
        return te.compute((batch, height, width, filters), lambda n, y, x, f: result(n, y // rows, y % rows, x, f), name="crop")
    finished = te.compute((*outer, rows, width, filters), name=RESULT,
                          fcompute=lambda n, t, r, x, f: activated(result(n, t, r, x, f), stages[-1].steps, operands, f))
    return te.compute((batch, filters, height, width), lambda n, f, y, x: finished[n, y // rows, y % rows, x, f], name="crop")


def _average(value: Callable, outer: tuple[int, int], tile: tuple[int, int], size: tuple[int, int], filters: int,
             place: Callable) -> te.Tensor:
    """The average of value(n, t, row, column, place(channel)) over all pixels, by channel.

    The rows of a task, and its register tiles, are added up first; the columns of a tile stay apart: no sum waits for its neighbour. `tile`
    is how many of both there are.
    """
    (batch, tasks), (rows, pixels), (height, width) = outer, tile, size
    r, x = te.reduce_axis((0, rows), "r"), te.reduce_axis((0, ceil(width / pixels)), "x")

    def part(n, t, p, f):
        one, inside = value(n, t, r, x * pixels + p, f), []
        if height % rows:
            inside.append(t * rows + r < height)
        if width % pixels:
            inside.append(x * pixels + p < width)
        return te.sum(tirx.if_then_else(tirx.all(*inside), one, tirx.const(0, "float32")) if inside else one, axis=[r, x])

    sums = te.compute((batch, tasks, pixels, filters), part, name=SUMS)
    t, p = te.reduce_axis((0, tasks), "t"), te.reduce_axis((0, pixels), "p")
    total = te.compute((batch, 1, 1, filters), lambda n, _y, _x, f: te.sum(sums[n, t, p, place(f)], axis=[t, p]), name="total")
    return te.compute(total.shape, lambda *i: total(*i) * tirx.const(1 / (height * width), "float32"), name="average")


def _where(channel, stage: ChainStage, lanes: int):
    """Block of the last stage, and place in it, that has a channel of the output."""
    blocks, m = stage.blocks(lanes), stage.interleaved
    if stage.depthwise:
        return channel // lanes, channel % lanes
    if m == 1:
        filled = stage.per_set // blocks
        return channel // filled, channel % filled
    each, together = stage.per_set // m, lanes // m
    group, filter_, of_block = channel % stage.per_set // each, channel % each, together * stage.vectors
    place = filter_ % of_block // together * lanes + filter_ % together * m + group
    return channel // stage.per_set * blocks + filter_ // of_block, place


@dataclass(frozen=True)
class _Plane:
    """What a stage reads: fetch(n, t, row, column, channel), rows counted from the first of task t on.

    `whole` says that rows outside of the image can be read too, and are zeros.
    """

    fetch: Callable
    layout: ChannelLayout
    whole: bool


def _image(data: te.Tensor, span: Lines, tasks: int, copied: bool, nchw: bool) -> _Plane:
    """The image itself, or a copy of the task's rows, (N, T, rows, W, C)."""
    batch, height, width, channels = (int(data.shape[axis]) for axis in ((0, 2, 3, 1) if nchw else (0, 1, 2, 3)))
    layout = ChannelLayout(1, channels, channels)

    def value(n, t, r, x, c):
        y = t * span.step - span.before + r
        return data[n, c, y, x] if nchw else data[n, y, x, c]

    if not copied:
        return _Plane(value, layout, whole=False)
    copy = te.compute((batch, tasks, span.count, width, channels), name="plane_of_image",
                      fcompute=lambda n, t, r, x, c: _on_image(value(n, t, r, x, c), t, r, span, height))
    return _Plane(lambda n, t, r, x, c: copy[n, t, r, x, c], layout, whole=True)


def _reordered(plane: _Plane, table: te.Tensor) -> _Plane:
    """The channels of a plane in the order of a table: a number that is loaded once for all pixels and vectors of a tile."""
    channels = int(table.shape[0])
    return _Plane(lambda n, t, r, x, c: plane.fetch(n, t, r, x, table[c]), ChannelLayout(1, channels, channels), plane.whole)


def _on_image(value, task, row, span: Lines, height: int, outside: float = 0.0):
    """`value`, or `outside` in rows outside of the image."""
    y = task * span.step - span.before + row
    return tirx.if_then_else(tirx.all(y >= 0, y < height), value, tirx.const(outside, "float32"))


def _accumulate(plane: _Plane, weight: te.Tensor | None, stage: ChainStage, outer: tuple[int, int, int], spans: Sequence[Lines],
                sizes: Sequence[tuple[int, int]], lanes: int) -> te.Tensor:
    """The sums of one stage, or largest numbers, (N, T, blocks, rows, columns, channels).

    `outer` is how many images, strips, and strips of a task there are; `spans` and `sizes` are of input and output.
    """
    *outer, strips = outer
    geometry = stage.geometry
    (before, behind), ((in_height, in_width), (height, width)) = spans, sizes
    (stride_h, stride_w), (dilation_h, dilation_w), left = geometry.stride, geometry.dilation, geometry.padding[1]
    wide = ceil(width / stage.pixels) * stage.pixels
    limits = Limits(behind.step, behind.before, height, width, before.step, before.before, 0 if plane.whole else in_height, left, in_width,
                    stride_h, stride_w, dilation_h, dilation_w)
    attrs = {ANNOTATION: [stage.pixels, stage.vectors, stage.interleaved, stage.blocks(lanes), strips, before.again, before.kept,
                          *astuple(limits)]}
    ky, kx = te.reduce_axis((0, geometry.kernel[0]), "ky"), te.reduce_axis((0, geometry.kernel[1]), "kx")

    def fetch(n, t, r, x, c):
        return plane.fetch(n, t, r * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w - left, c)

    if stage.depthwise:
        def product(n, t, b, r, x, v):
            value = fetch(n, t, r, x, b * lanes + v)
            return te.max(value, axis=[ky, kx]) if stage.pools else te.sum(value * weight[ky, kx, b * lanes + v], axis=[ky, kx])

        return te.compute((*outer, plane.layout.size // lanes, behind.count, wide, lanes), product, name="depthwise", attrs=attrs)
    _, blocks, _, _, channels, block = (int(d) for d in weight.shape)
    ci = te.reduce_axis((0, channels), "ci")

    m = stage.interleaved

    def dense_product(n, t, b, r, x, v):
        group = b // blocks  # or a set of interleaved ones
        own = m * channels == plane.layout.used
        channel = group * plane.layout.stored + ci * m if own else plane.layout.at((group * channels + ci) * m)
        if m < lanes:
            value = _choose(v % m, [fetch(n, t, r, x, channel + i) for i in range(m)])
        else:
            value = fetch(n, t, r, x, channel + v % m)
        return te.sum(value * weight[group, b % blocks, ky, kx, ci, v], axis=[ky, kx, ci])

    return te.compute((*outer, stage.sets * blocks, behind.count, wide, block), dense_product, name="conv2d", attrs=attrs)


def _choose(which, values: Sequence[ir.Expr]):
    """values[which]. Where they lie side by side in memory, and `which` counts lanes, LLVM makes one load of it that repeats them over the
    vector; of an index that depends on lanes it makes a load for every lane."""
    result = values[-1]
    for i in range(len(values) - 2, -1, -1):
        result = tirx.Select(tirx.EQ(which, i), values[i], result)
    return result


def _plane(acc: te.Tensor, stage: ChainStage, layout: ChannelLayout, operands: Sequence[te.Tensor], span: Lines, size: tuple[int, int],
           beyond: float, name: str) -> _Plane:
    """The activated results of a stage, its channels in `layout`; `span` and `size` are of its output. Rows beyond the image, which padding
    of the next stage reads, are `beyond`."""
    (height, width), block = size, layout.size // int(acc.shape[2])  # fewer than a block of the accumulators where channels lie closer
    outside = span.before > 0 or (int(acc.shape[1]) - 1) * span.step - span.before + span.count > height
    each = layout.size // layout.parts

    def value(n, t, part, r, x, c):
        c = part * each + c
        result = activated(acc[n, t, c // block, r, x, c % block], stage.steps, operands, c)
        return _on_image(result, t, r, span, height, beyond) if outside else result

    plane = te.compute((*acc.shape[:2], layout.parts, acc.shape[-3], width, each), value, name=name)
    if layout.parts == 1:
        return _Plane(lambda n, t, r, x, c: plane[n, t, 0, r, x, c], layout, whole=True)
    return _Plane(lambda n, t, r, x, c: plane[n, t, c // each, r, x, c % each], layout, whole=True)


def activated(value, steps: Sequence[tuple], operands: Sequence[te.Tensor], channel):
    """`value` after the steps of a stage."""
    for name, *arguments in steps:
        if has_operand(name):
            arguments = [operands[arguments[0]][channel]]
        value = ELEMENTWISE[name].step(value, *arguments)
    return value


def numbered(steps: Sequence[EpilogueStep], operands: list[np.ndarray], layout: ChannelLayout | None = None) -> tuple[tuple, ...]:
    """Return steps that name their arrays by number, and append these to `operands`: in order, or as channels lie in a layout."""
    found = []
    for step in steps:
        arguments = step.arguments
        if has_operand(step.name):
            operands.append(arguments[0] if layout is None else layout.spread(arguments[0]))
            arguments = (len(operands) - 1,)
        found.append((step.name, *arguments))
    return tuple(found)
