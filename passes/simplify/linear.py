"""Nodes of the graph as linear layers: a `Linear` is a run of nodes, from one value to another, that one kernel computes.

    Conv; AveragePool that counts its padding; SpaceToDepth          channels on axis 1, spatial axes behind it
    Gemm; MatMul with a constant                                     channels on the last axis, no spatial axes
    Mul, Div, Add, Sub with a constant for each channel              either
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnxscript import ir

from ...frontends.onnx.initializers import constant, is_constant
from .editing import elements, is_float, operator, sizes, sole_producer
from .kernel import Grid, Kernel, Sizes, composed, composed_grid
from .work import Work

LAYERS = ("Conv", "Gemm", "MatMul")
AFFINE = ("Mul", "Div", "Add", "Sub")
LONGEST_RUN = 6  # of nodes


@dataclass(frozen=True)
class Linear:
    """A run of nodes that one kernel computes.

    Attributes
    ----------
    source, result : ir.Value
        What it reads and what it makes.
    nodes : tuple of ir.Node
        In order; none of an identity.
    last : bool
        Channels are on the last axis, and there are no spatial axes.
    grid : Grid
    bias : ndarray or None
        None: it is not zero, and known only when the kernel is.
    kernel : callable
        Works out the numbers, which may be many.
    work : Work
        Of the nodes.
    """

    source: ir.Value
    result: ir.Value
    nodes: tuple[ir.Node, ...]
    last: bool
    grid: Grid
    bias: np.ndarray | None
    kernel: Callable[[], Kernel]
    work: Work

    @property
    def shifted(self) -> bool:
        """Whether there is a bias; False: it is zero for sure."""
        return self.bias is None or bool(self.bias.any())

    @property
    def offset(self) -> np.ndarray:
        """The bias of a single node."""
        assert self.bias is not None
        return self.bias

    @property
    def layer(self) -> ir.Node | None:
        """The convolution or dense layer with the largest weight: what the run is called after."""
        layers = [node for node in self.nodes if operator(node) in LAYERS]
        return max(layers, key=lambda node: elements(node.inputs[1])) if layers else None

    def then(self, second: Linear) -> Linear | None:
        """Both in one, or None where one kernel can't compute that."""
        if self.last != second.last:
            return None
        grid = composed_grid(self.grid, second.grid, spatial(self.source, self.last), not self.shifted)
        if grid is None:
            return None
        bias = None if self.shifted or second.shifted else np.zeros(grid.outputs)
        return Linear(
            self.source, second.result, (*self.nodes, *second.nodes), self.last, grid, bias,
            lambda: composed(self.kernel(), second.kernel(), grid), self.work + second.work,
        )  # fmt: skip


def spatial(value: ir.Value, last: bool) -> Sizes:
    """The spatial sizes of a value."""
    return () if last else (sizes(value) or ())[2:]


def channels(value: ir.Value, last: bool) -> int:
    """The number of channels of a value."""
    return (sizes(value) or ())[-1 if last else 1]


def merged_work(grid: Grid, source: ir.Value, result: ir.Value) -> Work:
    """The work of one layer of this grid.

    Parameters
    ----------
    grid : Grid
    source, result : ir.Value
        What it reads, and a value of the shape of what it makes.
    """
    moved = elements(source) + elements(result) + grid.params
    return Work.layer(elements(result) * (grid.params // grid.outputs), moved, grid)


def layer_work(grid: Grid, source: ir.Value, result: ir.Value, main: ir.Node | None, shifted: bool) -> Work:
    """The work of one layer of this grid, with the Add that a MatMul needs for its bias.

    Parameters
    ----------
    grid : Grid
    source, result : ir.Value
        What it reads, and a value of the shape of what it makes.
    main : ir.Node
        The layer that it takes the place of.
    shifted : bool
        Whether it has a bias.
    """
    work = merged_work(grid, source, result)
    apart = shifted and (operator(main) == "MatMul" or (operator(main) == "Gemm" and len(sizes(result) or ()) != 2))
    return work + Work.elementwise(2 * elements(result)) if apart else work


def identity(value: ir.Value, last: bool) -> Linear:
    """The value itself."""
    count, axes = channels(value, last), len(spatial(value, last))
    kernel = Kernel.affine(np.ones(count), np.zeros(count), axes)
    return Linear(value, value, (), last, kernel.grid, kernel.bias, lambda: kernel, Work())


def runs_to(node: ir.Node | None, last: bool) -> Iterator[Linear]:
    """The runs of linear layers that end with a node, shortest first. Before that node, each makes what it makes for the next one alone.

    Parameters
    ----------
    node : ir.Node or None
        None: there are no runs.
    last : bool
        As of `linear`.
    """
    run: Linear | None = None
    for _ in range(LONGEST_RUN):
        before = None if node is None else linear(node, last)
        run = before if run is None or before is None else before.then(run)
        if before is None or run is None:
            return
        yield run
        node = sole_producer(run.source)


def linear(node: ir.Node, last: bool) -> Linear | None:
    """What a node computes as a linear layer, or None.

    Parameters
    ----------
    node : ir.Node
    last : bool
        How its channels are to lie.
    """
    rules: dict[str, Callable[[ir.Node], Linear | None]]
    if last:
        rules = {"Gemm": _gemm, "MatMul": _matmul}
    else:
        rules = {"Conv": _conv, "AveragePool": _average_pool, "SpaceToDepth": _space_to_depth}
    kind = operator(node)
    if not node.outputs or not is_float(node.outputs[0]) or (not last and len(sizes(node.outputs[0]) or ()) < 3):
        return None
    if kind in AFFINE:
        return _affine(node, last)
    return rules[kind](node) if kind in rules and is_float(node.inputs[0]) else None


def affine_step(node: ir.Node, last: bool) -> tuple[ir.Value, np.ndarray, np.ndarray] | None:
    """Scale and shift for each channel, and what they are applied to, of a Mul, Div, Add or Sub with a constant; else None.

    Parameters
    ----------
    node : ir.Node
    last : bool
        Whether channels are on the last axis, or on axis 1.
    """
    kind = operator(node)
    if kind not in AFFINE or len(node.inputs) != 2 or "broadcast" in node.attributes:
        return None
    left, right = node.inputs
    x, other = (left, right) if is_constant(right) else (right, left)
    if not is_constant(other) or is_constant(x) or not is_float(x) or sizes(x) != sizes(node.outputs[0]):
        return None
    rank = len(sizes(x) or ())
    if rank < 2:
        return None
    # The sizes tell most of those apart that are not one a channel, before their numbers are looked at.
    value = constant(other) if other is not None and elements(other) <= channels(x, last) else None
    vector = None if value is None else per_channel(value, x, last)
    if vector is None:
        return None
    one, zero, mirrored = np.ones_like(vector), np.zeros_like(vector), x is right
    if kind == "Mul":
        return x, vector, zero
    if kind == "Add":
        return x, one, vector
    if kind == "Sub":
        return (x, -one, vector) if mirrored else (x, one, -vector)
    if mirrored or not vector.all():
        return None
    return x, 1 / vector, zero


def per_channel(value: np.ndarray, x: ir.Value, last: bool) -> np.ndarray | None:
    """A constant as one number for each channel of `x`, or None where it broadcasts in any other way.

    Parameters
    ----------
    value : ndarray
    x : ir.Value
    last : bool
        Whether channels are on the last axis, or on axis 1.
    """
    rank, count = len(sizes(x) or ()), channels(x, last)
    axis = rank - 1 if last else 1
    shape = (1,) * (rank - value.ndim) + value.shape
    if value.ndim > rank or any(size != 1 for at, size in enumerate(shape) if at != axis) or shape[axis] not in (1, count):
        return None
    return np.broadcast_to(value.reshape(-1), (count,)).astype(np.float64)


def _affine(node: ir.Node, last: bool) -> Linear | None:
    found = affine_step(node, last)
    if found is None:
        return None
    x, scale, shift = found
    kernel = Kernel.affine(scale, shift, len(spatial(x, last)))
    work = Work.elementwise(elements(x) + elements(node.outputs[0]))
    return Linear(x, node.outputs[0], (node,), last, kernel.grid, shift, lambda: kernel, work)


def _layer(node: ir.Node, last: bool, grid: Grid, bias: np.ndarray, weigh: Callable[[], np.ndarray]) -> Linear | None:
    source, result = node.inputs[0], node.outputs[0]
    if is_constant(source) or grid.output_size(spatial(source, last)) != spatial(result, last) or channels(result, last) != grid.outputs:
        return None
    return Linear(
        source, result, (node,), last, grid, bias, lambda: Kernel(grid, weigh(), bias), merged_work(grid, source, result)
    )


def _conv(node: ir.Node) -> Linear | None:
    weight = node.inputs[1]
    shape, bias = sizes(weight), node.inputs[2] if len(node.inputs) > 2 else None
    offset = constant(bias) if bias is not None else None
    if shape is None or not is_constant(weight) or not is_float(weight) or (bias is not None and offset is None):
        return None
    grid = conv_grid(node, shape)
    if grid is None or grid.inputs != channels(node.inputs[0], False):
        return None
    return _layer(node, False, grid, np.zeros(shape[0]) if offset is None else offset, lambda: _numbers(weight))


def conv_grid(node: ir.Node, weight: Sizes) -> Grid | None:
    """The geometry of a Conv with a weight of this shape."""
    axes = len(weight) - 2
    ones, pads = [1] * axes, list(node.attributes.get_ints("pads", [0] * 2 * axes))
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "") or axes < 1 or min(pads) < 0:
        return None
    stride, dilation = node.attributes.get_ints("strides", ones), node.attributes.get_ints("dilations", ones)
    groups = node.attributes.get_int("group", 1)
    return Grid(weight[0], weight[1] * groups, weight[2:], tuple(stride), tuple(dilation), tuple(pads[:axes]), tuple(pads[axes:]), groups)


def _average_pool(node: ir.Node) -> Linear | None:
    attributes, x = node.attributes, node.inputs[0]
    kernel = tuple(attributes.get_ints("kernel_shape", ()))
    ones, pads = [1] * len(kernel), list(attributes.get_ints("pads", [0] * 2 * len(kernel)))
    if attributes.get_int("ceil_mode", 0) or attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "") or min(pads) < 0:
        return None
    if any(pads) and not attributes.get_int("count_include_pad", 0):
        return None  # fewer numbers are averaged at the border
    count, half = channels(x, False), len(kernel)
    stride, dilation = tuple(attributes.get_ints("strides", ones)), tuple(attributes.get_ints("dilations", ones))
    grid = Grid(count, count, kernel, stride, dilation, tuple(pads[:half]), tuple(pads[half:]), count)
    if grid.output_size(spatial(x, False)) != spatial(node.outputs[0], False):
        return None
    number, zeros = 1 / math.prod(kernel), np.zeros(count)
    work = Work.pool(elements(node.outputs[0]) * math.prod(kernel), elements(x) + elements(node.outputs[0]))

    def whole() -> Kernel:
        return Kernel(grid, np.full((count, 1, *kernel), number), zeros)

    return Linear(x, node.outputs[0], (node,), False, grid, zeros, whole, work)


def _space_to_depth(node: ir.Node) -> Linear | None:
    x, block = node.inputs[0], node.attributes.get_int("blocksize", 1)
    pixels = [(channel, row, column) for row in range(block) for column in range(block) for channel in range(channels(x, False))]
    return block_map(x, node.outputs[0], (node,), block, pixels)


def block_map(
    x: ir.Value, result: ir.Value, nodes: tuple[ir.Node, ...], block: int, pixels: list[tuple[int, int, int]]
) -> Linear | None:
    """Space to depth: each output channel takes one channel of one pixel of each block.

    Parameters
    ----------
    x, result : ir.Value
    nodes : tuple of ir.Node
        What computes it.
    block : int
        Rows and columns of a block.
    pixels : list of (int, int, int)
        Channel, row and column, in the order of the output's channels.
    """
    count, size = channels(x, False), spatial(x, False)
    if len(size) != 2:
        return None
    grid = Grid(len(pixels), count, (block, block), (block, block), (1, 1), (0, 0), (0, 0), 1)
    if grid.output_size(size) != spatial(result, False) or grid.outputs != channels(result, False):
        return None

    def kernel() -> Kernel:
        weight = np.zeros((len(pixels), count, block, block))
        for number, pixel in enumerate(pixels):
            weight[(number,) + pixel] = 1
        return Kernel(grid, weight, np.zeros(len(pixels)))

    return Linear(x, result, nodes, False, grid, np.zeros(grid.outputs), kernel, Work.elementwise(elements(x) + elements(result)))


def _gemm(node: ir.Node) -> Linear | None:
    weight, attributes = node.inputs[1], node.attributes
    shape = sizes(weight)
    if attributes.get_int("transA", 0) or shape is None or not is_constant(weight) or not is_float(weight):
        return None
    turned, alpha = bool(attributes.get_int("transB", 0)), attributes.get_float("alpha", 1.0)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    outputs, inputs = shape if turned else shape[::-1]
    offset = np.zeros(outputs)
    if bias is not None:
        value = constant(bias)
        vector = None if value is None else per_channel(value, node.outputs[0], True)
        if vector is None:
            return None
        offset = vector * attributes.get_float("beta", 1.0)
    if inputs != channels(node.inputs[0], True):
        return None
    grid = Grid(outputs, inputs, (), (), (), (), (), 1)
    return _layer(node, True, grid, offset, lambda: alpha * (_numbers(weight) if turned else _numbers(weight).T))


def _matmul(node: ir.Node) -> Linear | None:
    weight = node.inputs[1]
    shape = sizes(weight)
    if shape is None or len(shape) != 2 or not is_constant(weight) or not is_float(weight) or len(sizes(node.inputs[0]) or ()) < 2:
        return None
    grid = Grid(shape[1], shape[0], (), (), (), (), (), 1)
    return _layer(node, True, grid, np.zeros(shape[1]), lambda: _numbers(weight).T)


def _numbers(weight: ir.Value) -> np.ndarray:
    array = constant(weight)
    assert array is not None
    return array
