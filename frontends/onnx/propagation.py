"""What shape inference would hold of the values that it follows through a graph: onnx keeps each of them, so lengths are bounded."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from onnxscript import ir

MOST_FOLLOWED = 100_000  # entries of one value; those of a shape are a handful, inference takes about a microsecond for each
UNKNOWN_RANK, UNKNOWN_SIZE = 8, 2**31
# The operators that onnx 1.16 to 1.23 follows values through (`OpSchema.has_data_propagation_function`), besides Shape and Size.
ELEMENTWISE = frozenset(("Add", "Sub", "Mul", "Cast", "Squeeze", "Unsqueeze", "Slice"))
LARGEST_VALUE = 2**62


@dataclass(frozen=True)
class Bound:
    """Bound of a value that shape inference follows: at most `length` entries, none above `most` (None: not known)."""

    length: int
    most: int | None


def stays_small(model: ir.Model) -> bool:
    """Whether inference that follows values (``data_prop``) meets none of more than `MOST_FOLLOWED` entries.

    A Concat of a value with itself, thirty times in a row, is all it takes. The shapes that inference finds without following
    values have to be there.
    """
    bounds: dict[ir.Value, Bound] = {}
    for node in model.graph.all_nodes():
        inputs = [_bound(value, bounds) for value in node.inputs if value is not None]
        for output in node.outputs:
            bounds[output] = _output(node, output, inputs)
            if bounds[output].length > MOST_FOLLOWED:
                return False
    return True


def _bound(value: ir.Value, bounds: dict[ir.Value, Bound]) -> Bound:
    if value in bounds:
        return bounds[value]
    tensor = value.const_value
    if tensor is None or len(tensor.shape) > 1 or tensor.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return Bound(_length(value), None)
    if tensor.size > MOST_FOLLOWED:
        return Bound(tensor.size, LARGEST_VALUE)
    return Bound(tensor.size, int(np.abs(tensor.numpy().astype(np.float64)).max()) if tensor.size else 0)


def _length(value: ir.Value) -> int:
    """Entries of a value of one dimension; others are not followed."""
    return value.shape[0] if value.shape is not None and len(value.shape) == 1 and isinstance(value.shape[0], int) else 1


def _output(node: ir.Node, output: ir.Value, inputs: list[Bound]) -> Bound:
    kind, first = node.op_type, node.inputs[0] if node.inputs else None
    values = [bound.most for bound in inputs if bound.most is not None]
    known = len(values) == len(inputs) > 0
    if kind in ("Shape", "Size") and first is not None:
        sizes = [UNKNOWN_SIZE] * UNKNOWN_RANK if first.shape is None else [s if isinstance(s, int) else UNKNOWN_SIZE for s in first.shape]
        return Bound(len(sizes), max(sizes, default=1)) if kind == "Shape" else Bound(1, min(math.prod(sizes), LARGEST_VALUE))
    if kind == "Concat":
        return Bound(sum(bound.length for bound in inputs), max(values) if known else None)
    if kind == "Gather" and len(inputs) == 2:
        return Bound(inputs[1].length, inputs[0].most)
    if kind in ELEMENTWISE and inputs:
        longest = max(bound.length for bound in inputs)
        if kind in ("Add", "Sub", "Mul"):
            return Bound(longest, min(sum(values) if kind != "Mul" else math.prod(values), LARGEST_VALUE) if known else None)
        return Bound(inputs[0].length, inputs[0].most)
    if output.shape is not None:
        return Bound(_length(output), None)
    # Its size may come from values that are followed, such as those of Range or ConstantOfShape.
    return Bound(min(math.prod(max(1, value) for value in values), LARGEST_VALUE), None)
