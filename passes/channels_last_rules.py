"""What each operator does to layouts: one rule for a family of operators, and the table of them all.

A rule (`Rule`) emits the operator so that it works on its arguments as they lie, and returns the value of the result. It returns None if it
can't: then the operator gets its arguments, and gives its result, just as in the old function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
from tvm import ir, relax, tirx

from ..schedules.operators import ELEMENTWISE
from .layout import NHWC, Layout, identity, relabel, replaced, reshaped, widened, without
from .layout_emitter import Emitter, Stored, Value, static_shape


class Rule(Protocol):
    """What an operator does to the layouts of its arguments."""

    def __call__(self, call: ir.Call, args: Sequence[Any], out: Emitter, name: str, /) -> Value | None:
        """Emit the operator for its arguments as they lie.

        Parameters
        ----------
        call : ir.Call
            The call in the old function, whose result is of static shape.
        args : sequence
            The values of its arguments: `Stored`, tuples of values, or expressions without a layout.
        out : Emitter
            Takes the bindings of the new function.
        name : str
            The name of the variable that holds the result.

        Returns
        -------
        Value or None
            The value of the result; None where the rule can't work on such arguments.
        """


def with_attrs(call: ir.Call, args: Sequence[ir.Expr], **changes: object) -> ir.Call:
    """The same operator on other arguments, with some attributes changed."""
    if not changes:
        return ir.Call(call.op, args, call.attrs, call.ty_args)
    kind = type(call.attrs).__tvm_ffi_type_info__
    fields = {f.name: getattr(call.attrs, f.name) for f in kind.fields}
    return ir.Call(call.op, args, ir.make_node(kind.type_key, **{**fields, **changes}), call.ty_args)


def ints(values: Iterable[Any]) -> list[int]:
    """Numbers of TVM as numbers of Python."""
    return [int(value) for value in values]


def cheapest(values: Sequence[Stored], rank: int) -> Layout:
    """The layout for a result of `rank` axes, made of all these operands, for which the fewest elements must be moved."""
    layouts = [widened(value.home, rank - len(value.shape)) for value in values if not value.constant and prod(value.shape) > 1]
    return min([*layouts, identity(rank)], key=lambda layout: (sum(value.cost(layout) for value in values), layout.plain))


# Spatial operators: these ask for channels-last.


def convolution(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Convolutions, transposed or not: NHWC data, HWIO kernel. I are the input's channels and O the output's in both."""
    attrs = call.attrs
    if attrs.data_layout != "NCHW" or attrs.out_layout != "NCHW" or sorted(attrs.kernel_layout) != sorted("OIHW"):
        return None
    if call.op.name == "relax.nn.conv2d_transpose" and (not isinstance(call.args[1], ir.GenericConst) or str(call.ty.dtype) != "float32"):
        return None  # TVM's own, which weights that are computed or not float32 get, knows NCHW alone
    kernel = out.get(args[1], Layout(tuple(attrs.kernel_layout.index(axis) for axis in "HWIO")))
    new = with_attrs(call, [out.get(args[0], NHWC), kernel], data_layout="NHWC", kernel_layout="HWIO", out_layout="NHWC")
    return out.store(new, static_shape(call.ty), NHWC, name)


def pooling(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Pools and resizes over two dimensions: NHWC data."""
    layouts = [key for key in ("layout", "out_layout") if hasattr(call.attrs, key)]
    if any(getattr(call.attrs, key) != "NCHW" for key in layouts):
        return None
    new = with_attrs(call, [out.get(args[0], NHWC), *args[1:]], **dict.fromkeys(layouts, "NHWC"))
    return out.store(new, static_shape(call.ty), NHWC, name)


def pooling3d(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Pools over three dimensions: the pooled axes may lie in any order, since the window can be turned with them.

    Local response normalisation arrives as avg_pool3d of (N, 1, C, H, W) with a window over C.
    """
    x: Stored = args[0]
    attrs = call.attrs
    if attrs.layout != "NCDHW" or attrs.out_layout != "NCDHW":
        return None
    turned = Layout((0, 1, *(axis for axis in x.by_axes.order if axis > 1)))
    layout = turned if x.cost(turned) == 0 else x.plain
    window = {}
    for key in ("pool_size", "strides", "dilation", "padding"):
        values = ints(getattr(attrs, key))
        window[key] = [values[start + axis - 2] for start in range(0, len(values), 3) for axis in layout.order[2:]]
    return out.store(with_attrs(call, [out.get(x, layout)], **window), static_shape(call.ty), layout, name)


# Operators that work in any layout.


def elementwise(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Operators on any number of tensors, broadcast against each other; other arguments stay."""
    shape = static_shape(call.ty)
    layout = cheapest([arg for arg in args if isinstance(arg, Stored)], len(shape))
    new = with_attrs(call, [out.broadcast(arg, layout) if isinstance(arg, Stored) else arg for arg in args])
    return out.store(new, shape, layout, name)


def along(*keys: str) -> Rule:
    """Make the rule of operators on one tensor whose result has as many axes, and whose attributes `keys` name axes.

    Other arguments (scale, offset) belong to these axes.
    """

    def rule(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
        x: Stored = args[0]
        layout = x.by_axes
        changes: dict[str, int | list[int]] = {}
        for key in keys:
            axes = getattr(call.attrs, key)
            if axes is None:
                return None
            changes[key] = layout.position(int(axes)) if isinstance(axes, int | tirx.IntImm) else [layout.position(int(a)) for a in axes]
            if key == "axes" and "channel_axis" not in keys and len(axes) > 1:
                return None  # scale and offset have these axes, in logical order
        result = out.emit(with_attrs(call, [out.get(x, layout), *map(out.plain, args[1:])], **changes), name)
        if not isinstance(call.ty, ir.TupleType):
            return out.store(result, static_shape(call.ty), layout, name)
        items = []
        for i, type_ in enumerate(call.ty.fields):
            shape = static_shape(type_)
            lies = layout if len(shape) == len(x.shape) else identity(len(shape))
            items.append(out.store(ir.TupleGetItem(result, i), shape, lies, out.fresh(f"{name}_{i}")))
        return tuple(items)

    return rule


def reduction(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Reductions (sum, mean, argmax, ...): without keepdims the remaining axes stay in the order in which they lie."""
    x: Stored = args[0]
    if call.attrs.axis is None:
        return None
    layout = x.by_axes
    single = isinstance(call.attrs.axis, int | tirx.IntImm)
    axes = [axis % len(x.shape) for axis in ints([call.attrs.axis] if single else call.attrs.axis)]
    places = [layout.position(axis) for axis in axes]
    new = with_attrs(call, [out.get(x, layout)], axis=places[0] if single else places)
    return out.store(new, static_shape(call.ty), layout if call.attrs.keepdims else without(layout, axes), name)


def concat(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Concatenation: in the layout for which the fewest elements must be moved."""
    if call.attrs.axis is None:
        return None
    layout = cheapest(args[0], len(args[0][0].shape))
    if layout.sizes:
        layout = identity(len(layout.order))
    parts = ir.Tuple([out.get(part, layout) for part in args[0]])
    return out.store(with_attrs(call, [parts], axis=layout.position(int(call.attrs.axis))), static_shape(call.ty), layout, name)


def stack(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Stack tensors: the new axis lies first, wherever it is logically."""
    shape = static_shape(call.ty)
    axis = int(call.attrs.axis) % len(shape)
    layout = cheapest(args[0], len(shape) - 1)
    if layout.sizes:
        layout = identity(len(layout.order))
    parts = ir.Tuple([out.get(part, layout) for part in args[0]])
    result = Layout((axis, *(old if old < axis else old + 1 for old in layout.order)))
    return out.store(with_attrs(call, [parts], axis=0), shape, result, name)


def split(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Split along one axis: every part lies as the whole."""
    x: Stored = args[0]
    if not isinstance(call.ty, ir.TupleType):
        return x  # into one part
    layout = x.by_axes
    result = out.emit(with_attrs(call, [out.get(x, layout)], axis=layout.position(int(call.attrs.axis))), name)
    shapes = [static_shape(type_) for type_ in call.ty.fields]
    return tuple(out.store(ir.TupleGetItem(result, i), shape, layout, out.fresh(f"{name}_{i}")) for i, shape in enumerate(shapes))


def strided_slice(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Slices: their axes are renamed."""
    x: Stored = args[0]
    axes, *rest = args[1:]
    layout = x.by_axes
    places = ir.Tuple([tirx.IntImm("int64", layout.position(int(axis))) for axis in axes])
    return out.store(with_attrs(call, [out.get(x, layout), places, *map(out.plain, rest)]), static_shape(call.ty), layout, name)


def take(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Gather along one axis, which the axes of the indices replace."""
    x: Stored = args[0]
    indices = args[1]
    if call.attrs.axis is None or not isinstance(indices, Stored):
        return None
    layout, axis = x.by_axes, int(call.attrs.axis) % len(x.shape)
    new = with_attrs(call, [out.get(x, layout), out.plain(indices)], axis=layout.position(axis))
    return out.store(new, static_shape(call.ty), replaced(layout, axis, len(indices.shape)), name)


def pad(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Padding: its widths are put in the order in which the axes lie."""
    x: Stored = args[0]
    rest = args[1:]
    layout, widths = x.by_axes, ints(call.attrs.pad_width)
    turned = [width for axis in layout.order for width in widths[2 * axis : 2 * axis + 2]]
    return out.store(with_attrs(call, [out.get(x, layout), *rest], pad_width=turned), static_shape(call.ty), layout, name)


def tile(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Repeat a tensor along its axes, none of them new."""
    x: Stored = args[0]
    repeats = ints(call.attrs.repeats)
    if len(repeats) > len(x.shape):
        return None
    layout, repeats = x.by_axes, [1] * (len(x.shape) - len(repeats)) + repeats
    new = with_attrs(call, [out.get(x, layout)], repeats=[repeats[axis] for axis in layout.order])
    return out.store(new, static_shape(call.ty), layout, name)


def broadcast_to(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Broadcast to a shape: a constant is broadcast here and now."""
    x: Stored = args[0]
    shape = static_shape(call.ty)
    if x.shape == shape:
        return x
    if x.constant:
        return out.constant(np.broadcast_to(out.plain(x).value.numpy(), shape), name)
    layout = Layout(widened(x.by_axes, len(shape) - len(x.shape)).order)
    return out.store(with_attrs(call, [out.broadcast(x, layout), relax.ShapeExpr(layout.stored(shape))]), shape, layout, name)


# Operators that only rename axes.


def permute_dims(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Permutes: nothing is moved, the axes get other names."""
    x: Stored = args[0]
    rank = len(x.shape)
    axes = [axis % rank for axis in (reversed(range(rank)) if call.attrs.axes is None else ints(call.attrs.axes))]
    out.get(x, x.by_axes)
    forms = {relabel(layout, axes): expr for layout, expr in x.forms.items() if not layout.sizes}
    return Stored(static_shape(call.ty), relabel(x.by_axes, axes), forms, name)


def reshape(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Reshapes of all kinds: only axes that merge and do not lie together are moved, and even these later, if they can wait."""
    x: Stored = args[0]
    shape = static_shape(call.ty)
    if x.shape == shape:
        return x
    out.get(x, x.by_axes)
    ways = [(form, *reshaped(x.shape, form, shape)) for form in (x.by_axes, *x.forms) if not form.sizes]
    form, how, layout = next((way for way in ways if way[1].free), ways[0])
    return out.store(out.moved(x.forms[form], how, name, f"{name}_parts"), shape, layout, name)


def matmul(call: ir.Call, args: Sequence[Any], out: Emitter, name: str) -> Value | None:
    """Product of x (..., C) and a constant (C, F): where x has its C scrambled, the rows of the constant are scrambled alike."""
    x: Stored = args[0]
    weight: Stored = args[1]
    last = len(x.shape) - 1
    if last < 1 or len(weight.shape) != 2 or not weight.constant:
        return None
    moved = Layout((*(axis for axis in x.home.order if axis != last), last), x.home.sizes, x.home.scramble)
    layout = moved if x.cost(moved) == 0 or x.cost(x.plain) else x.plain
    columns = {relabel(form, (1, 0)): expr for form, expr in weight.forms.items()}
    turned = Stored(weight.shape[::-1], relabel(weight.home, (1, 0)), columns, weight.name)
    rows = out.get(turned, Layout((1, 0), layout.sizes, layout.scramble))
    return out.store(with_attrs(call, [out.get(x, layout), rows]), static_shape(call.ty), Layout(layout.order), name)


FAMILIES: dict[Rule, str] = {
    convolution: "nn.conv2d nn.conv2d_transpose",
    pooling: "nn.max_pool2d nn.avg_pool2d nn.adaptive_avg_pool2d image.resize2d",
    pooling3d: "nn.max_pool3d nn.avg_pool3d",
    elementwise: " ".join(name.removeprefix("relax.") for name in ELEMENTWISE),
    along(): "nn.dropout",
    along("axis"): "nn.softmax nn.log_softmax nn.prelu nn.batch_norm quantize dequantize cumsum cumprod flip repeat sort argsort topk",
    along("axes"): "nn.layer_norm",
    along("axes", "channel_axis"): "nn.group_norm nn.instance_norm",
    reduction: "sum mean max min prod std variance argmax argmin",
    concat: "concat",
    stack: "stack",
    split: "split",
    strided_slice: "strided_slice",
    take: "take",
    pad: "nn.pad",
    tile: "tile",
    broadcast_to: "broadcast_to",
    permute_dims: "permute_dims",
    reshape: "reshape flatten nn.batch_flatten squeeze expand_dims",
    matmul: "matmul",
}

RULES: dict[str, Rule] = {f"relax.{op}": rule for rule, ops in FAMILIES.items() for op in ops.split()}
