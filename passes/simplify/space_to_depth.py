"""Space to depth goes into the convolution behind it, which reads the image with a stride.

    SpaceToDepth -> Conv k x k                                         ->   Conv 2k x 2k, stride 2
    Slice of every other row and column, 4 times -> Concat -> Conv     ->   the same (the Focus of YOLOv5)
    Reshape -> Transpose -> Reshape -> Conv                            ->   the same

The multiply-adds are the same; the copies are saved.
"""
from __future__ import annotations

import numpy as np
from onnxscript import ir

from ...frontends.onnx.initializers import is_constant
from .editing import alone, is_float, operator, sizes, sole_producer
from .emit import replace_by_layer
from .linear import Linear, block_map, channels, layer_work, linear, spatial
from .rewrite import Rewrite


class SpaceToDepth(Rewrite):
    """Let convolutions read with a stride."""

    name = "space_to_depth"

    def at(self, node: ir.Node) -> str | None:
        """Rewrite a convolution and the space to depth before it."""
        conv = linear(node, False) if operator(node) == "Conv" else None
        before = sole_producer(node.inputs[0]) if conv is not None else None
        blocks = None if before is None else _blocks(before)
        run = None if blocks is None or conv is None else blocks.then(conv)
        if run is None or not layer_work(run.grid, run.source, run.result, node, run.shifted).pays_instead_of(run.work):
            return None
        name = node.name
        return name if replace_by_layer(run.result, run.source, run.kernel(), node, False) else None


def _blocks(node: ir.Node) -> Linear | None:
    """Space to depth that ends with this node."""
    if not is_float(node.outputs[0]) or len(sizes(node.outputs[0]) or ()) != 4:
        return None
    rules = {"SpaceToDepth": lambda node: linear(node, False), "Concat": _slices, "Reshape": _reshapes}
    rule = rules.get(operator(node))
    return None if rule is None else rule(node)


def _slices(node: ir.Node) -> Linear | None:
    """A Concat of slices of one image; each takes one pixel of each block."""
    if node.attributes.get_int("axis", 0) not in (1, -3):
        return None
    found = [_slice(value) for value in node.inputs]
    if not found or any(each is None for each in found):
        return None
    taken = [each for each in found if each is not None]
    source, block = taken[0][0], taken[0][2]
    places = [place for _, place, _ in taken]
    if any(each[0] is not source or each[2] != block for each in taken):
        return None
    nodes = (*(producer for producer in (value.producer() for value in node.inputs)), node)
    pixels = [(channel, row, column) for row, column in places for channel in range(channels(source, False))]
    return block_map(source, node.outputs[0], nodes, block, pixels)


def _slice(value: ir.Value | None) -> tuple[ir.Value, tuple[int, int], int] | None:
    """What one slice, or two in a row, take every so many rows and columns of: the source, the first row and column, the step."""
    starts, steps = {2: 0, 3: 0}, {2: 1, 3: 1}
    if not alone(value):
        return None
    while value is not None and (node := value.producer()) is not None and operator(node) == "Slice":
        source, arrays = node.inputs[0], [each.const_value.numpy().tolist() for each in node.inputs[1:] if is_constant(each)]
        shape = sizes(source)
        if shape is None or len(shape) != 4 or len(arrays) != 4:
            return None
        begin, end, axes, step = arrays
        for first, stop, axis, by in zip(begin, end, axes, step, strict=True):
            axis %= 4
            if axis not in (2, 3) or steps[axis] != 1 or by < 1 or not 0 <= first < by or stop < shape[axis] - by + 1 + first:
                return None
            starts[axis], steps[axis] = first, by
        value = source
        if steps[2] == steps[3] > 1:
            return value, (starts[2], starts[3]), steps[2]
    return None


def _reshapes(node: ir.Node) -> Linear | None:
    """Reshape to blocks, Transpose, Reshape: the pixels of a block become channels."""
    turn = sole_producer(node.inputs[0])
    first = sole_producer(turn.inputs[0]) if turn is not None and operator(turn) == "Transpose" else None
    if turn is None or first is None or operator(first) != "Reshape" or not is_float(first.inputs[0]):
        return None
    x, result = first.inputs[0], node.outputs[0]
    if len(sizes(x) or ()) != 4:
        return None
    images, count, *size = sizes(x) or ()
    block = size[0] // max(spatial(result, False)[0], 1)
    if block < 2 or sizes(first.outputs[0]) != (images, count, size[0] // block, block, size[1] // block, block):
        return None
    order = list(turn.attributes.get_ints("perm", ()))
    shape = (images, count * block**2, size[0] // block, size[1] // block)
    if len(order) != 6 or order[0] != 0 or order[-2:] != [2, 4] or sizes(result) != shape:
        return None
    # What becomes of the places of x is looked at, on one block.
    taken = np.arange(count * block * block).reshape(1, count, 1, block, 1, block).transpose(order).reshape(-1).tolist()
    pixels = [(place // block**2, place // block % block, place % block) for place in taken]
    return block_map(x, result, (first, turn, node), block, pixels)
