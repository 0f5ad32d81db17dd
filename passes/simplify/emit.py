"""A kernel as nodes: the layer that takes the place of those that were merged, under the name of the largest of them."""
from __future__ import annotations

import re

import numpy as np
from onnxscript import ir

from .editing import add_constant, fits, free_name, insert, may_stand_for, operator, sizes, supplant
from .kernel import Kernel


def replace_by_layer(result: ir.Value, source: ir.Value, kernel: Kernel, main: ir.Node, last: bool) -> bool:
    """Let one layer compute `result`; False, and nothing is changed, where its numbers are too large for the dtype.

    Parameters
    ----------
    result, source : ir.Value
        What it makes and what it reads.
    kernel : Kernel
    main : ir.Node
        The layer that is to keep its name. It is removed, unless others read it.
    last : bool
        Channels are on the last axis: a dense layer.
    """
    if not fits(result, kernel.weight, kernel.bias):
        return False
    node = result.producer()
    assert node is not None
    name, weight, bias = main.name or "layer", main.inputs[1].name or "weight", _bias_name(main)
    shape = sizes(result) or ()
    old = main.outputs[0] is not result and (main.outputs[0].is_graph_output() or _outlives(main, result))
    name = f"{name}.merged" if old else name
    if last:
        new = _dense(node, source, kernel, operator(main) == "MatMul" or len(shape) != 2, name, shape)
    else:
        new = insert(node, "Conv", [source], name, shape, **_geometry(kernel))
    graph, layer = node.graph, _first_of(new)
    supplant(result, new)
    array = kernel.weight.T if layer.op_type == "MatMul" else kernel.weight
    _give(layer, 1, add_constant(source, weight, array, graph))
    if layer.op_type != "MatMul":
        if kernel.bias.any():
            _give(layer, 2, add_constant(source, bias, kernel.bias, graph))
    elif layer is not new.producer():
        _give(new.producer(), 1, add_constant(source, bias, kernel.bias, graph))
    return True


def _outlives(main: ir.Node, result: ir.Value) -> bool:
    """Whether something else than what makes `result` reads a layer."""
    seen, values = set(), [main.outputs[0]]
    while values:
        value = values.pop()
        if value is result or value in seen:
            continue
        seen.add(value)
        if value.is_graph_output() or len(value.uses()) != 1:
            return True
        values += [output for user, _ in value.uses() for output in user.outputs]
    return False


def _dense(before: ir.Node, source: ir.Value, kernel: Kernel, plain: bool, name: str, shape: tuple[int, ...]) -> ir.Value:
    if not plain:
        return insert(before, "Gemm", [source], name, shape, transB=1)
    product = insert(before, "MatMul", [source], name, shape)
    return insert(before, "Add", [product], f"{name}.add", shape) if kernel.bias.any() else product


def _first_of(value: ir.Value) -> ir.Node:
    node = value.producer()
    return node.inputs[0].producer() if node.op_type == "Add" else node


def _give(node: ir.Node, index: int, value: ir.Value) -> None:
    node.resize_inputs(max(index + 1, len(node.inputs)))
    node.replace_input_with(index, value)


def _bias_name(main: ir.Node) -> str:
    if len(main.inputs) > 2 and main.inputs[2] is not None:
        return main.inputs[2].name or "bias"
    return re.sub(r"weight$|$", "bias", main.inputs[1].name or "", count=1)


def _geometry(kernel: Kernel) -> dict[str, object]:
    grid = kernel.grid
    return {
        "kernel_shape": list(grid.kernel),
        "strides": list(grid.stride),
        "pads": [*grid.begin, *grid.end],
        "dilations": list(grid.dilation),
        "group": grid.groups,
    }


def replace_by_affine(result: ir.Value, source: ir.Value, scale: np.ndarray, shift: np.ndarray, last: bool) -> bool:
    """Let at most one Mul and one Add compute `result`; False where their numbers are too large for the dtype.

    Parameters
    ----------
    result, source : ir.Value
    scale, shift : ndarray
        One number for each channel.
    last : bool
        Whether channels are on the last axis, or on axis 1.
    """
    neutral = not (scale != 1).any() and not shift.any()
    if not fits(result, scale, shift) or (neutral and not may_stand_for(source, result)):
        return False
    node, value, shape = result.producer(), source, sizes(result) or ()
    assert node is not None
    form = (-1,) if last else (-1, *(1,) * (len(shape) - 2))
    base = node.name or result.name or "affine"
    for op_type, numbers, least in (("Mul", scale, 1.0), ("Add", shift, 0.0)):
        if (numbers != least).any():
            name = free_name(node.graph, f"{base}.{op_type.lower()}")
            constant = add_constant(source, f"{name}.constant", numbers.reshape(form), node.graph)
            value = insert(node, op_type, [value, constant], name, shape)
    supplant(result, value)
    return True
