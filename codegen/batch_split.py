"""A batch in parts: a network for fewer images runs on one part of the batch after the other, so that intermediate tensors stay in caches.

A network that computes every image by itself is compiled for a divisor of its batch, if two things hold. The intermediate tensors of all
images do not fit in the L3 cache. And its weights, which every part reads again, are few.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import tvm
from tvm import ir, relax

from ..passes.layout_emitter import static_shape, tensor_shape
from ..schedules.backend import BatchTraffic, backend_of
from ..schedules.operators import ELEMENTWISE
from ..targets import Target

Rule = Callable[[ir.Call, set[relax.Var]], bool]  # of a call, and the variables that have a row for each image


def count_pieces(mod: tvm.IRModule, target: Target) -> int:
    """How many pieces a network's batch is best computed in: 1 where that is all at once.

    Parameters
    ----------
    mod : tvm.IRModule
        An imported network.
    target : Target
        The device to compile for.
    """
    images = _images(mod["main"])
    if images <= 1 or with_batch(mod, 1) is None:
        return 1
    return backend_of(target).batch_pieces(_traffic(mod, images))


def with_batch(mod: tvm.IRModule, batch: int) -> tvm.IRModule | None:
    """Rewrite a network for another number of images.

    Returns
    -------
    tvm.IRModule or None
        None if an operator mixes images, or is not known to keep them apart.
    """
    main = mod["main"]
    images, blocks = _images(main), main.body.blocks
    if not images or len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        return None
    builder, bindings = relax.BlockBuilder(), []
    values = {p: relax.Var(p.name, relax.TensorType((batch, *static_shape(p.ty)[1:]), p.ty.dtype)) for p in main.params}
    batched = set(values)
    for binding in blocks[0].bindings:
        value, shape = binding.value, tensor_shape(binding.var.ty)
        rows = [arg in batched for arg in _tensors(value)]
        known = isinstance(binding, relax.VarBinding) and isinstance(value, ir.Call | ir.Tuple | relax.Var)
        if not known or isinstance(value, ir.Tuple) and not all(rows):
            return None
        if isinstance(value, ir.Call) and any(rows) and not (shape and shape[0] == images and _by_images(value, batched)):
            return None
        expr = builder.normalize(_changed(value, values, batch if any(rows) else None))
        if any(rows) and shape and tensor_shape(expr.ty) != (batch, *shape[1:]):
            return None
        var = values[binding.var] = type(binding.var)(binding.var.name, expr.ty)
        bindings.append(relax.VarBinding(var, expr))
        if any(rows):
            batched.add(binding.var)
    result = main.body.body
    if not all(each in batched for each in _tensors(result)):
        return None
    new = builder.normalize(_changed(result, values, None))
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], new)
    changed = mod.clone()
    changed["main"] = relax.Function([values[p] for p in main.params], body, new.ty, main.is_pure, main.attrs)
    return changed


def _images(function: relax.Function) -> int:
    """The batch that all inputs share, or 0."""
    shapes = [tensor_shape(param.ty) for param in function.params]
    first = shapes[0] if shapes else None
    return first[0] if first and all(shape and shape[0] == first[0] for shape in shapes) else 0


def _tensors(value: ir.Expr) -> Iterator[ir.Expr]:
    """What an operator reads, or the expression itself; the fields of tuples one by one."""
    for arg in value.args if isinstance(value, ir.Call) else (value,):
        yield from arg.fields if isinstance(arg, ir.Tuple) else (arg,)


def _changed(value: ir.Expr, values: dict[relax.Var, ir.Expr], batch: int | None) -> ir.Expr:
    """The expression on other variables; a shape among the arguments of a call begins with `batch`, if that is given."""
    if isinstance(value, ir.Call):
        return ir.Call(value.op, [_changed(arg, values, batch) for arg in value.args], value.attrs, value.ty_args)
    if isinstance(value, ir.Tuple):
        return ir.Tuple([_changed(each, values, batch) for each in value.fields])
    if isinstance(value, relax.ShapeExpr) and batch is not None:
        return relax.ShapeExpr([batch, *value.values[1:]])
    return values.get(value, value) if isinstance(value, relax.Var) else value


def _traffic(mod: tvm.IRModule, images: int) -> BatchTraffic:
    """What the layers of a network move."""
    constants: dict[ir.Expr, int] = {}
    each = []
    for binding in mod["main"].body.blocks[0].bindings:
        tensors = list(_tensors(binding.value))
        constants.update({arg: _bytes(arg) for arg in tensors if isinstance(arg, ir.GenericConst)})
        if isinstance(binding.value, ir.Call) and isinstance(binding.value.op, ir.Op) and binding.value.op.name in LAYERS:
            each.append((_bytes(tensors[0]) + _bytes(binding.var)) / images)
    return BatchTraffic(images, sum(constants.values()), max(each, default=0.0), sum(each), len(each))


def _bytes(tensor: ir.Expr) -> int:
    return prod(tensor_shape(tensor.ty) or (0,)) * np.dtype(str(tensor.ty.dtype)).itemsize


def _by_images(call: ir.Call, batched: set[relax.Var]) -> bool:
    """Whether an operator gives every image its result from that image alone: its rule holds."""
    rule = RULES.get(call.op.name) if isinstance(call.op, ir.Op) else None
    return rule is not None and rule(call, batched)


def _data_alone(call: ir.Call, batched: set[relax.Var]) -> bool:
    """Whether only the first tensor has images."""
    first, *others = _tensors(call)
    return first in batched and not any(other in batched for other in others)


def _broadcast(call: ir.Call, batched: set[relax.Var]) -> bool:
    """Whether an operand with images has the rank of the result, and any other operand is the same for all images."""
    rank = len(static_shape(call.ty))
    shapes = [(tensor_shape(arg.ty), arg in batched) for arg in _tensors(call) if isinstance(arg.ty, relax.TensorType)]
    return all(shape is not None and (len(shape) == rank if row else len(shape) < rank or shape[0] == 1) for shape, row in shapes)


def _but_first(call: ir.Call, batched: set[relax.Var]) -> bool:
    """Whether the axes along which it works, or which it drops or inserts, leave out that of the images."""
    axes = call.attrs.axis
    if axes is None or not _data_alone(call, batched):
        return False
    rank = max(len(static_shape(call.ty)), len(static_shape(call.args[0].ty)))
    return all(int(axis) % rank for axis in (axes if hasattr(axes, "__len__") else [axes]))


def _joined(call: ir.Call, batched: set[relax.Var]) -> bool:
    """Whether all tensors have images, and are joined along another axis."""
    axis = call.attrs.axis
    return axis is not None and int(axis) % len(static_shape(call.ty)) != 0 and all(arg in batched for arg in _tensors(call))


def _reshaped(call: ir.Call, batched: set[relax.Var]) -> bool:
    """Whether the tensor has images. The caller checks that they are still the first axis of the result."""
    return call.args[0] in batched


def _permuted(call: ir.Call, batched: set[relax.Var]) -> bool:
    return call.args[0] in batched and call.attrs.axes is not None and int(call.attrs.axes[0]) == 0


def _padded(call: ir.Call, batched: set[relax.Var]) -> bool:
    return call.args[0] in batched and not any(int(width) for width in call.attrs.pad_width[:2])


LAYERS = {f"relax.nn.conv{n}d{kind}" for n in (1, 2, 3) for kind in ("", "_transpose")} | {"relax.matmul"}
LAYERS |= {f"relax.nn.{kind}_pool{n}d" for n in (1, 2, 3) for kind in ("max", "avg", "adaptive_avg")}
RULES: dict[str, Rule] = {
    **dict.fromkeys(LAYERS, _data_alone),
    **dict.fromkeys(ELEMENTWISE, _broadcast),
    **{f"relax.{name}": _but_first for name in ("mean", "sum", "max", "min", "squeeze", "expand_dims", "nn.softmax", "nn.log_softmax")},
    "relax.concat": _joined,
    "relax.reshape": _reshaped,
    "relax.permute_dims": _permuted,
    "relax.nn.pad": _padded,
}
