"""What each operator does to layouts: one rule for a family of operators, and the table of them all.

A rule gets the old call, the values of its arguments, the emitter, and the name of the variable that holds the result. It emits the
operator so that it works on its arguments as they lie, and returns the value of the result, or None if it can't: then the operator
gets its arguments, and gives its result, just as in the old function.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from tvm import ir, relax, tirx

from ..schedules.operators import ELEMENTWISE
from .layout import NHWC, Layout, identity, relabel, replaced, reshaped, widened, without
from .layout_emitter import Emitter, Stored, Value, tensor_shape

Rule = Callable[[ir.Call, list, Emitter, str], Value | None]


def with_attrs(call: ir.Call, args: list[ir.Expr], **changes) -> ir.Call:
    """The same operator on other arguments, with some attributes changed."""
    if not changes:
        return ir.Call(call.op, args, call.attrs, call.ty_args)
    kind = type(call.attrs).__tvm_ffi_type_info__
    fields = {f.name: getattr(call.attrs, f.name) for f in kind.fields}
    return ir.Call(call.op, args, ir.make_node(kind.type_key, **{**fields, **changes}), call.ty_args)


def ints(values) -> list[int]:
    return [int(value) for value in values]


def cheapest(values: list[Stored], rank: int) -> Layout:
    """The layout for a joint result of these operands in which the fewest elements must be moved."""
    layouts = [widened(value.home, rank - len(value.shape)) for value in values if not value.constant and prod(value.shape) > 1]
    return min([*layouts, identity(rank)], key=lambda layout: (sum(value.cost(layout) for value in values), layout.plain))


# ---- spatial operators: these ask for channels-last


def convolution(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """conv2d, conv2d_transpose: NHWC data, HWIO kernel (for the transposed one, I is still the input's and O the output's channels)."""
    attrs = call.attrs
    if attrs.data_layout != "NCHW" or attrs.out_layout != "NCHW" or sorted(attrs.kernel_layout) != sorted("OIHW"):
        return None
    if call.op.name == "relax.nn.conv2d_transpose" and (not isinstance(call.args[1], ir.GenericConst) or str(call.ty.dtype) != "float32"):
        return None  # TVM's own, which weights that are computed or not float32 get, knows NCHW alone
    kernel = out.get(args[1], Layout(tuple(attrs.kernel_layout.index(axis) for axis in "HWIO")))
    new = with_attrs(call, [out.get(args[0], NHWC), kernel], data_layout="NHWC", kernel_layout="HWIO", out_layout="NHWC")
    return out.store(new, tensor_shape(call.ty), NHWC, name)


def pooling(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """max_pool2d, avg_pool2d, adaptive_avg_pool2d, resize2d."""
    layouts = [key for key in ("layout", "out_layout") if hasattr(call.attrs, key)]
    if any(getattr(call.attrs, key) != "NCHW" for key in layouts):
        return None
    new = with_attrs(call, [out.get(args[0], NHWC), *args[1:]], **dict.fromkeys(layouts, "NHWC"))
    return out.store(new, tensor_shape(call.ty), NHWC, name)


def pooling3d(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """max_pool3d, avg_pool3d: the three pooled axes may lie in any order, since the window can be turned with them.

    Local response normalisation arrives as avg_pool3d of (N, 1, C, H, W) with a window over C.
    """
    (x,), attrs = args, call.attrs
    if attrs.layout != "NCDHW" or attrs.out_layout != "NCDHW":
        return None
    turned = Layout((0, 1, *(axis for axis in x.by_axes.order if axis > 1)))
    layout = turned if x.cost(turned) == 0 else x.plain
    window = {}
    for key in ("pool_size", "strides", "dilation", "padding"):
        values = ints(getattr(attrs, key))
        window[key] = [values[start + axis - 2] for start in range(0, len(values), 3) for axis in layout.order[2:]]
    return out.store(with_attrs(call, [out.get(x, layout)], **window), tensor_shape(call.ty), layout, name)


# ---- operators that work in any layout


def elementwise(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """Any number of tensors, broadcast against each other; other arguments stay."""
    shape = tensor_shape(call.ty)
    layout = cheapest([arg for arg in args if isinstance(arg, Stored)], len(shape))
    new = with_attrs(call, [out.broadcast(arg, layout) if isinstance(arg, Stored) else arg for arg in args])
    return out.store(new, shape, layout, name)


def along(*keys: str) -> Rule:
    """Operators of one tensor whose result has as many axes, where the attributes `keys` name axes; other arguments belong to the axis."""

    def rule(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
        x = args[0]
        layout = x.by_axes
        changes = {}
        for key in keys:
            axes = getattr(call.attrs, key)
            if axes is None:
                return None
            changes[key] = layout.position(int(axes)) if isinstance(axes, int | tirx.IntImm) else [layout.position(int(a)) for a in axes]
            if key == "axes" and "channel_axis" not in keys and len(axes) > 1:
                return None  # scale and offset have these axes, in logical order
        result = out.emit(with_attrs(call, [out.get(x, layout), *map(out.plain, args[1:])], **changes), name)
        if not isinstance(call.ty, ir.TupleType):
            return out.store(result, tensor_shape(call.ty), layout, name)
        items = []
        for i, type_ in enumerate(call.ty.fields):
            shape = tensor_shape(type_)
            lies = layout if len(shape) == len(x.shape) else identity(len(shape))
            items.append(out.store(ir.TupleGetItem(result, i), shape, lies, out.fresh(f"{name}_{i}")))
        return tuple(items)

    return rule


def reduction(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """sum, mean, argmax, ...: without keepdims the remaining axes stay in the order they lie in."""
    (x,), axes = args, call.attrs.axis
    if axes is None:
        return None
    layout = x.by_axes
    single = isinstance(axes, int | tirx.IntImm)
    axes = [axis % len(x.shape) for axis in ints([axes] if single else axes)]
    places = [layout.position(axis) for axis in axes]
    new = with_attrs(call, [out.get(x, layout)], axis=places[0] if single else places)
    return out.store(new, tensor_shape(call.ty), layout if call.attrs.keepdims else without(layout, axes), name)


def concat(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    if call.attrs.axis is None:
        return None
    layout = cheapest(args[0], len(args[0][0].shape))
    if layout.sizes:
        layout = identity(len(layout.order))
    parts = ir.Tuple([out.get(part, layout) for part in args[0]])
    return out.store(with_attrs(call, [parts], axis=layout.position(int(call.attrs.axis))), tensor_shape(call.ty), layout, name)


def stack(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """The new axis lies first, wherever it is logically."""
    shape = tensor_shape(call.ty)
    axis = int(call.attrs.axis) % len(shape)
    layout = cheapest(args[0], len(shape) - 1)
    if layout.sizes:
        layout = identity(len(layout.order))
    parts = ir.Tuple([out.get(part, layout) for part in args[0]])
    result = Layout((axis, *(old if old < axis else old + 1 for old in layout.order)))
    return out.store(with_attrs(call, [parts], axis=0), shape, result, name)


def split(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    (x,) = args
    if not isinstance(call.ty, ir.TupleType):
        return x  # into one part
    layout = x.by_axes
    result = out.emit(with_attrs(call, [out.get(x, layout)], axis=layout.position(int(call.attrs.axis))), name)
    shapes = [tensor_shape(type_) for type_ in call.ty.fields]
    return tuple(out.store(ir.TupleGetItem(result, i), shape, layout, out.fresh(f"{name}_{i}")) for i, shape in enumerate(shapes))


def strided_slice(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    x, axes, *rest = args
    layout = x.by_axes
    places = ir.Tuple([tirx.IntImm("int64", layout.position(int(axis))) for axis in axes])
    return out.store(with_attrs(call, [out.get(x, layout), places, *map(out.plain, rest)]), tensor_shape(call.ty), layout, name)


def take(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    x, indices = args
    if call.attrs.axis is None or not isinstance(indices, Stored):
        return None
    layout, axis = x.by_axes, int(call.attrs.axis) % len(x.shape)
    new = with_attrs(call, [out.get(x, layout), out.plain(indices)], axis=layout.position(axis))
    return out.store(new, tensor_shape(call.ty), replaced(layout, axis, len(indices.shape)), name)


def pad(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    x, *rest = args
    layout, widths = x.by_axes, ints(call.attrs.pad_width)
    turned = [width for axis in layout.order for width in widths[2 * axis : 2 * axis + 2]]
    return out.store(with_attrs(call, [out.get(x, layout), *rest], pad_width=turned), tensor_shape(call.ty), layout, name)


def tile(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    (x,), repeats = args, ints(call.attrs.repeats)
    if len(repeats) > len(x.shape):
        return None
    layout, repeats = x.by_axes, [1] * (len(x.shape) - len(repeats)) + repeats
    new = with_attrs(call, [out.get(x, layout)], repeats=[repeats[axis] for axis in layout.order])
    return out.store(new, tensor_shape(call.ty), layout, name)


def broadcast_to(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    x, shape = args[0], tensor_shape(call.ty)
    if x.shape == shape:
        return x
    if x.constant:
        return out.constant(np.broadcast_to(out.plain(x).value.numpy(), shape), name)
    layout = Layout(widened(x.by_axes, len(shape) - len(x.shape)).order)
    return out.store(with_attrs(call, [out.broadcast(x, layout), relax.ShapeExpr(layout.stored(shape))]), shape, layout, name)


# ---- operators that only rename axes


def permute_dims(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """Nothing is moved: the axes get other names."""
    (x,) = args
    axes = range(len(x.shape))[::-1] if call.attrs.axes is None else [axis % len(x.shape) for axis in ints(call.attrs.axes)]
    out.get(x, x.by_axes)
    forms = {relabel(layout, axes): expr for layout, expr in x.forms.items() if not layout.sizes}
    return Stored(tensor_shape(call.ty), relabel(x.by_axes, axes), forms, name)


def reshape(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """reshape, flatten, squeeze, expand_dims: moves only what merges and does not lie together, and even that later, if it can wait."""
    x, shape = args[0], tensor_shape(call.ty)
    if x.shape == shape:
        return x
    out.get(x, x.by_axes)
    ways = [(form, *reshaped(x.shape, form, shape)) for form in (x.by_axes, *x.forms) if not form.sizes]
    form, how, layout = next((way for way in ways if way[1].free), ways[0])
    return out.store(out.moved(x.forms[form], how, name, f"{name}_parts"), shape, layout, name)


def matmul(call: ir.Call, args: list, out: Emitter, name: str) -> Value | None:
    """x (..., C) by a constant (C, F): where the C lie scrambled, so are made the rows of the constant."""
    x, weight = args
    last = len(x.shape) - 1
    if last < 1 or len(weight.shape) != 2 or not weight.constant:
        return None
    moved = Layout((*(axis for axis in x.home.order if axis != last), last), x.home.sizes, x.home.scramble)
    layout = moved if x.cost(moved) == 0 or x.cost(x.plain) else x.plain
    columns = {relabel(form, (1, 0)): expr for form, expr in weight.forms.items()}
    turned = Stored(weight.shape[::-1], relabel(weight.home, (1, 0)), columns, weight.name)
    rows = out.get(turned, Layout((1, 0), layout.sizes, layout.scramble))
    return out.store(with_attrs(call, [out.get(x, layout), rows]), tensor_shape(call.ty), Layout(layout.order), name)


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
