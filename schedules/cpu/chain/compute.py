"""A chain of convolutions in one kernel, NHWC: the tensors between them never leave the cache of the core that made them.

A task computes rows of the last convolution, and the rows of every convolution before it that these need. Rows at the border between two
tasks are computed twice. A task goes through its rows in strips of a few rows, and keeps the rows that the next strip reads too
(`sliding`). Between two convolutions there is a plane, private to the task. It holds the activated rows of a strip, with channels in the
layout that the next convolution reads best (`stage`). Rows of padding are zeros in it. Columns of padding are not stored: products with
them are left out.

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

from tvm import ir, te, tirx

from ...shapes import ConvGeometry
from ...steps import activated
from .stage import ChainStage, ChannelLayout, layouts

RESULT = "result"  # name of the block of a task's rows that are transposed when they are stored
SUMS = "sums"      # name of the block that adds up a task's pixels; block "total" adds up those of all tasks
# Of an accumulating block, as integers: pixels and vectors of its tile, how many groups are interleaved, blocks of such a set of groups,
# strips of a task, `again` and `kept` of the rows it reads, and `Limits`.
ANNOTATION = "tenfold.chain"
Pixel = Callable[[ir.Expr, ir.Expr, ir.Expr, ir.Expr, ir.Expr], ir.Expr]  # (image, task, row, column, channel) -> value


@dataclass(frozen=True, order=True)
class Cut:
    """How the result's rows are cut: a task goes through `strips` strips of `rows` rows each, one after the other."""

    rows: int
    strips: int = 1


@dataclass(frozen=True)
class Lines:
    """The rows of one stage's output that a strip works on.

    Parameters
    ----------
    count : int
        How many rows.
    step, before : int
        The first row of strip t is t * `step` - `before`.
    again : int
        How many of them, at the beginning, a strip need not compute if the strip before it is of the same task: that one has computed
        them, or nobody reads them.
    kept : int
        How many of these, at the end, are read.
    """

    count: int
    step: int
    before: int
    again: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Limits:
    """The products of an accumulating block that are needed; others meet padding, or pixels beyond the end of a row or of the image.

    A product is needed if all of these hold:

    - output row t * `step` - `before` + r lies in [0, `height`);
    - output column x lies in [0, `width`);
    - input row t * `in_step` - `in_before` + r * `stride_h` + ky * `dilation_h` lies in [0, `in_height`), or `in_height` is 0: then rows
      outside the image are stored as zeros;
    - input column x * `stride_w` + kx * `dilation_w` - `in_left` lies in [0, `in_width`).
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
    """The rows that a strip works on: of the chain's input, then of each stage's output. The last stage's are `rows` rows."""
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
    """How the images at both ends of a chain lie.

    Parameters
    ----------
    source_nchw, result_nchw : bool
        The image that is read, or written, lies as (N, C, H, W). Tasks then transpose their own rows.
    in_place : bool
        The first stage, which is not depthwise, reads its (N, C, H, W) image without transposing it: number by number, each for all
        filters.
    """

    source_nchw: bool = False
    result_nchw: bool = False
    in_place: bool = False


CHANNELS_LAST = Ends()


def chain(data: te.Tensor, weights: Sequence[te.Tensor], operands: Sequence[te.Tensor], stages: Sequence[ChainStage], cut: Cut,
          lanes: int, ends: Ends = CHANNELS_LAST, averages: bool = False) -> te.Tensor:
    """Write the chain as TE.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C), or (N, C, H, W) as `ends` says.
    weights : sequence of te.Tensor
        Those of the stages that have any, as `pack_chain` makes them.
    operands : sequence of te.Tensor
        What the stages name by number: tables of places (int32), and the values per channel of steps. These lie as `ChannelLayout.spread`
        puts them for their stage; those of the last stage do so only if it `adds_up_in_own_order`.
    stages : sequence of ChainStage
        The last one has steps only if the result lies as (N, C, H, W) or is an average; otherwise its epilogue is inlined by the schedule.
        Its blocks have the same number of channels each (`ChainStage.spread_evenly`).
    cut : Cut
        How the last stage's rows are cut. All strips together fill whole tasks.
    lanes : int
        Numbers in a vector.
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

    def result(n: ir.Expr, t: ir.Expr, r: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
        block, lane = _where(f, stages[-1], lanes)
        return acc[n, t, block, r, x, lane]

    filters, (height, width) = stages[-1].geometry.filters, sizes[-1]
    if averages:
        last, block = stages[-1], stages[-1].block(lanes)
        own = last.adds_up_in_own_order

        def finished(n: ir.Expr, t: ir.Expr, r: ir.Expr, x: ir.Expr, f: ir.Expr) -> ir.Expr:
            value = acc[n, t, f // block, r, x, f % block] if own else result(n, t, r, x, f)
            return activated(value, last.steps, operands, f)

        def place(f: ir.Expr) -> ir.Expr:
            of_block, lane = _where(f, last, lanes)
            return of_block * block + lane if own else f

        return _average(finished, outer, (rows, last.pixels), sizes[-1], filters, place)
    if not ends.result_nchw:
        return te.compute((batch, height, width, filters), lambda n, y, x, f: result(n, y // rows, y % rows, x, f), name="crop")
    stored = te.compute((*outer, rows, width, filters), name=RESULT,
                        fcompute=lambda n, t, r, x, f: activated(result(n, t, r, x, f), stages[-1].steps, operands, f))
    return te.compute((batch, filters, height, width), lambda n, f, y, x: stored[n, y // rows, y % rows, x, f], name="crop")


def _average(value: Pixel, outer: tuple[int, int], tile: tuple[int, int], size: tuple[int, int], filters: int,
             place: Callable[[ir.Expr], ir.Expr]) -> te.Tensor:
    """The average of value(n, t, row, column, place(channel)) over all pixels, by channel.

    The rows and the register tiles of a task are added up first. The columns of a tile get separate sums, so that none waits for another.

    Parameters
    ----------
    value : callable
        The value of a pixel.
    outer : tuple of int
        Images, and tasks of an image.
    tile : tuple of int
        Rows of a task, and columns of a register tile.
    size : tuple of int
        Height and width of the image.
    filters : int
        Channels of the result.
    place : callable
        From a channel to where its sum is made.
    """
    (batch, tasks), (rows, pixels), (height, width) = outer, tile, size
    r, x = te.reduce_axis((0, rows), "r"), te.reduce_axis((0, ceil(width / pixels)), "x")

    def part(n: ir.Expr, t: ir.Expr, p: ir.Expr, f: ir.Expr) -> ir.Expr:
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


def _where(channel: ir.Expr, stage: ChainStage, lanes: int) -> tuple[ir.Expr, ir.Expr]:
    """The block of the last stage that has a channel of the output, and the place in it."""
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
    """What a stage reads.

    Parameters
    ----------
    fetch : callable
        The value of a pixel; rows are counted from the first of the task on.
    layout : ChannelLayout
        How the channels lie.
    whole : bool
        Rows outside the image can be read too, and are zeros.
    """

    fetch: Pixel
    layout: ChannelLayout
    whole: bool


def _image(data: te.Tensor, span: Lines, tasks: int, copied: bool, nchw: bool) -> _Plane:
    """The image itself, or a copy of the task's rows, (N, T, rows, W, C)."""
    batch, height, width, channels = (int(data.shape[axis]) for axis in ((0, 2, 3, 1) if nchw else (0, 1, 2, 3)))
    layout = ChannelLayout(1, channels, channels)

    def value(n: ir.Expr, t: ir.Expr, r: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        y = t * span.step - span.before + r
        return data[n, c, y, x] if nchw else data[n, y, x, c]

    if not copied:
        return _Plane(value, layout, whole=False)
    copy = te.compute((batch, tasks, span.count, width, channels), name="plane_of_image",
                      fcompute=lambda n, t, r, x, c: _on_image(value(n, t, r, x, c), t, r, span, height))
    return _Plane(lambda n, t, r, x, c: copy[n, t, r, x, c], layout, whole=True)


def _reordered(plane: _Plane, table: te.Tensor) -> _Plane:
    """The plane with its channels in the order of a table, whose entries are loaded once for all pixels and vectors of a tile."""
    channels = int(table.shape[0])
    return _Plane(lambda n, t, r, x, c: plane.fetch(n, t, r, x, table[c]), ChannelLayout(1, channels, channels), plane.whole)


def _on_image(value: ir.Expr, task: ir.Expr, row: ir.Expr, span: Lines, height: int, outside: float = 0.0) -> ir.Expr:
    """The value of a pixel, or `outside` where its row lies outside the image."""
    y = task * span.step - span.before + row
    return tirx.if_then_else(tirx.all(y >= 0, y < height), value, tirx.const(outside, "float32"))


def _accumulate(plane: _Plane, weight: te.Tensor | None, stage: ChainStage, outer: tuple[int, int, int], spans: Sequence[Lines],
                sizes: Sequence[tuple[int, int]], lanes: int) -> te.Tensor:
    """The sums of one stage, or the largest numbers where it pools: (N, T, blocks, rows, columns, channels).

    `outer` has the numbers of images, of strips, and of strips of a task; `spans` and `sizes` are those of input and output.
    """
    batch, tasks, strips = outer
    geometry = stage.geometry
    (before, behind), ((in_height, in_width), (height, width)) = spans, sizes
    (stride_h, stride_w), (dilation_h, dilation_w), left = geometry.stride, geometry.dilation, geometry.padding[1]
    wide = ceil(width / stage.pixels) * stage.pixels
    limits = Limits(behind.step, behind.before, height, width, before.step, before.before, 0 if plane.whole else in_height, left, in_width,
                    stride_h, stride_w, dilation_h, dilation_w)
    attrs = {ANNOTATION: [stage.pixels, stage.vectors, stage.interleaved, stage.blocks(lanes), strips, before.again, before.kept,
                          *astuple(limits)]}
    ky, kx = te.reduce_axis((0, geometry.kernel[0]), "ky"), te.reduce_axis((0, geometry.kernel[1]), "kx")

    def fetch(n: ir.Expr, t: ir.Expr, r: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        return plane.fetch(n, t, r * stride_h + ky * dilation_h, x * stride_w + kx * dilation_w - left, c)

    if stage.depthwise:
        def product(n: ir.Expr, t: ir.Expr, b: ir.Expr, r: ir.Expr, x: ir.Expr, v: ir.Expr) -> ir.Expr:
            value = fetch(n, t, r, x, b * lanes + v)
            return te.max(value, axis=[ky, kx]) if weight is None else te.sum(value * weight[ky, kx, b * lanes + v], axis=[ky, kx])

        return te.compute((batch, tasks, plane.layout.size // lanes, behind.count, wide, lanes), product, name="depthwise", attrs=attrs)
    assert weight is not None
    _, blocks, _, _, channels, block = (int(d) for d in weight.shape)
    ci = te.reduce_axis((0, channels), "ci")

    m = stage.interleaved

    def dense_product(n: ir.Expr, t: ir.Expr, b: ir.Expr, r: ir.Expr, x: ir.Expr, v: ir.Expr) -> ir.Expr:
        group = b // blocks  # or a set of interleaved ones
        own = m * channels == plane.layout.used
        channel = group * plane.layout.stored + ci * m if own else plane.layout.at((group * channels + ci) * m)
        if m < lanes:
            value = _choose(v % m, [fetch(n, t, r, x, channel + i) for i in range(m)])
        else:
            value = fetch(n, t, r, x, channel + v % m)
        return te.sum(value * weight[group, b % blocks, ky, kx, ci, v], axis=[ky, kx, ci])

    return te.compute((batch, tasks, stage.sets * blocks, behind.count, wide, block), dense_product, name="conv2d", attrs=attrs)


def _choose(which: ir.Expr, values: Sequence[ir.Expr]) -> ir.Expr:
    """Write values[which] as a choice between all values.

    Where the values lie side by side in memory and `which` counts lanes, LLVM makes one load of the choice, which repeats the values over
    the vector. For an index that depends on lanes it would make a load for every lane.
    """
    result = values[-1]
    for i in range(len(values) - 2, -1, -1):
        result = tirx.Select(tirx.EQ(which, i), values[i], result)
    return result


def _plane(acc: te.Tensor, stage: ChainStage, layout: ChannelLayout, operands: Sequence[te.Tensor], span: Lines, size: tuple[int, int],
           beyond: float, name: str) -> _Plane:
    """The activated results of a stage, with channels in `layout`; `span` and `size` are those of its output.

    Rows beyond the image, which are the padding of the next stage, are `beyond`.
    """
    (height, width), block = size, layout.size // int(acc.shape[2])  # fewer than a block of the accumulators where channels lie closer
    outside = span.before > 0 or (int(acc.shape[1]) - 1) * span.step - span.before + span.count > height
    each = layout.size // layout.parts

    def value(n: ir.Expr, t: ir.Expr, part: ir.Expr, r: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        c = part * each + c
        result = activated(acc[n, t, c // block, r, x, c % block], stage.steps, operands, c)
        return _on_image(result, t, r, span, height, beyond) if outside else result

    plane = te.compute((*acc.shape[:2], layout.parts, acc.shape[-3], width, each), value, name=name)
    if layout.parts == 1:
        return _Plane(lambda n, t, r, x, c: plane[n, t, 0, r, x, c], layout, whole=True)
    return _Plane(lambda n, t, r, x, c: plane[n, t, c // each, r, x, c % each], layout, whole=True)
