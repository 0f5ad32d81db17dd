"""Split a reduction into parts that are reduced side by side, and a second reduction over the parts.

    for s, k < K: y[s] += f(s, k)
    ->  for s, p, k: part[s, p] += f(s, p and k joined)          a part for each lane of a vector, or for each task
        for s, p:    y[s] += part[s, p]                          and the K % P elements that are left over

TVM's own `rfactor` is enough where the parts divide the length. For other lengths it leaves a bounds check that `compute_at` drops.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from math import prod
from typing import Any

from tvm import ir, s_tir, tirx

from .loop_nests import block_of_nest, fresh, loads_in, nest_around, nests_of, substitute, with_fresh_names, with_nests

LANES, TASKS = "_lanes", "_tasks"  # what the names of the parts' blocks and buffers end in
_OPERATIONS = (tirx.Add, tirx.Mul, tirx.Max, tirx.Min)

# (part, position in the part, length of a part) -> position on the axes that are split
_Join = Callable[[ir.Var, ir.Var, int], ir.Expr]
# (something for each spatial axis, the same for the axis of parts) -> all of them in the order of the new block
_Order = Callable[[Sequence[Any], Any], list[Any]]


def split_into_lanes(func: tirx.PrimFunc, name: str, axes: Sequence[int], parts: int) -> tirx.PrimFunc:
    """Split the reduction block `name` so that neighbouring parts read neighbouring elements: part p has the elements k * parts + p.

    The parts are the last axis of the new block.

    Parameters
    ----------
    func : tirx.PrimFunc
        A root block around loop nests of one block each.
    name : str
        A block that `can_split` accepts.
    axes : sequence of int
        Which of the block's axes to split, outermost first. They are reduction axes, and count as one axis.
    parts : int
        How many parts, at most the length of that axis. It has to divide the length if the block has other reduction axes longer than 1.

    Raises
    ------
    ValueError
        The parts do not divide the length, but have to.
    """
    return _split_nest(func, name, axes, parts, LANES, lambda p, k, _: k * parts + p, lambda spatial, p: [*spatial, p])


def split_into_tasks(func: tirx.PrimFunc, name: str, axes: Sequence[int], parts: int) -> tirx.PrimFunc:
    """Split the reduction block `name` so that each part reads neighbouring elements: part p has the elements p * length + k.

    The parts are the first axis of the new block. Parameters and errors are those of `split_into_lanes`.
    """
    return _split_nest(func, name, axes, parts, TASKS, lambda p, k, length: p * length + k, lambda spatial, p: [p, *spatial])


def can_split(block: s_tir.SBlock) -> bool:
    """Whether a block is `y[...] = y[...] (+, *, max, min) f(...)` with an initial value."""
    body = block.body
    if not isinstance(body, tirx.BufferStore) or not isinstance(block.init, tirx.BufferStore) or not isinstance(body.value, _OPERATIONS):
        return False
    own = [ld for ld in loads_in(body.value) if ld.source.same_as(body.buffer)]
    return len(own) == 1 and (own[0].same_as(body.value.a) or own[0].same_as(body.value.b))


def _split_nest(func: tirx.PrimFunc, name: str, axes: Sequence[int], parts: int, suffix: str, join: _Join, order: _Order) -> tirx.PrimFunc:
    nests = nests_of(func)
    names = [block_of_nest(nest).name_hint for nest in nests]
    position = names.index(name)
    new = next(n for i in count() if (n := f"{name}{i or ''}{suffix}") not in names)
    first, second, buffer = _split(block_of_nest(nests[position]), axes, parts, new, join, order)
    nests[position:position + 1] = [first, second]
    return with_nests(func, nests, [*func.body.block.alloc_buffers, buffer])


def _split(block: s_tir.SBlock, axes: Sequence[int], parts: int, name: str, join: _Join,
           order: _Order) -> tuple[tirx.For, tirx.For, tirx.Buffer]:
    """Make the nest of the parts, the nest over the parts, and the buffer between them."""
    store = block.body
    operation = type(store.value)
    own_load = next(ld for ld in loads_in(store.value) if ld.source.same_as(store.buffer))
    term = store.value.b if own_load.same_as(store.value.a) else store.value.a
    cut = [block.iter_vars[a] for a in axes]
    length = prod(int(v.dom.extent) for v in cut)
    whole = length // parts
    rest = length - whole * parts
    spatial = [v for v in block.iter_vars if v.iter_type == tirx.IterVar.DataPar]
    part = tirx.decl_buffer(order([v.dom.extent for v in spatial], _int(parts, cut[-1])), store.buffer.dtype, name=name)

    # 1. The parts, each over its share of the axes.
    names = [fresh(v) for v in block.iter_vars]
    p, k = _axis(cut[-1], "p", parts, tirx.IterVar.DataPar), _axis(cut[-1], "k", whole, tirx.IterVar.CommReduce)
    to_part = {**{v.var: n.var for v, n in zip(block.iter_vars, names, strict=True)}, **_unravel(join(p.var, k.var, whole), cut)}
    own = order([to_part[v.var] for v in spatial], p.var)
    value = operation(tirx.BufferLoad(part, own), substitute(term, to_part))
    reduced = [n for i, n in enumerate(names) if i not in axes and n.iter_type != tirx.IterVar.DataPar]
    nested = [*order([n for n in names if n.iter_type == tirx.IterVar.DataPar], p), *reduced, k]
    first = nest_around(name, nested, tirx.BufferStore(part, value, own), tirx.BufferStore(part, block.init.value, own))

    # 2. Over the parts, and what is left over of the axes.
    names = [fresh(v) for v in spatial]
    q = _axis(cut[-1], "q", parts + rest, tirx.IterVar.CommReduce)
    to_whole = {v.var: n.var for v, n in zip(spatial, names, strict=True)}
    value = tirx.BufferLoad(part, order([n.var for n in names], q.var))
    if rest:
        others = [v for i, v in enumerate(block.iter_vars) if v.iter_type != tirx.IterVar.DataPar and i not in axes]
        if any(int(v.dom.extent) > 1 for v in others):
            raise ValueError(f"{parts} parts do not divide {length} in {block.name_hint}, which has other reduction axes")
        rest_at = {**to_whole, **{v.var: _int(0, v) for v in others}, **_unravel(q.var + (whole * parts - parts), cut)}
        left = substitute(with_fresh_names(term), rest_at)
        value = tirx.if_then_else(q.var < parts, value, left)
    target = [substitute(i, to_whole) for i in store.indices]
    value = operation(tirx.BufferLoad(store.buffer, target), value)
    second = nest_around(block.name_hint, [*names, q], tirx.BufferStore(store.buffer, value, target),
                         tirx.BufferStore(store.buffer, block.init.value, target), whole=(part, q.var))
    return first, second, part


def _unravel(position: ir.Expr, axes: Sequence[tirx.IterVar]) -> dict[ir.Var, ir.Expr]:
    """The values of row-major axes at a position."""
    values: dict[ir.Var, ir.Expr] = {}
    for v in reversed(axes[1:]):
        size = int(v.dom.extent)
        values[v.var] = position % size
        position = position // size
    return {**values, axes[0].var: position}


def _int(value: int, like: tirx.IterVar) -> ir.Expr:
    return tirx.const(value, str(like.var.ty.dtype))


def _axis(like: tirx.IterVar, suffix: str, extent: int, kind: int) -> tirx.IterVar:
    var = tirx.Var(f"{like.var.name}_{suffix}", str(like.var.ty.dtype))
    return tirx.IterVar(ir.Range(_int(0, like), _int(extent, like)), var, kind)
