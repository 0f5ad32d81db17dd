"""The result of a Winograd convolution is stored tile by tile, also for images whose sides are no multiples of a tile's.

    for n, y, x, f:    out[n, y, x, f] = g(partial[.., tile(n, y, x), y % m, .., ..], n, y, x, f)
        ->
    for t, i, j, f:    if pixel (i, j) of tile t exists:    out[n(t), y(t, i), x(t, j), f] = g(partial[.., t, i, .., ..], ...)

Splitting and fusing loops would write the tile as quotients and remainders of loop variables, with predicates. TVM can't always tell from
these which tiles a task reads. Here the tile is a loop variable.
"""
from __future__ import annotations

from collections.abc import Callable
from math import ceil

import tvm_ffi
from tvm import ir, s_tir, sym, tirx

from ...tir.loop_nests import block_of_nest, nests_of, substitute, with_nests


def store_by_tiles(func: tirx.PrimFunc, out: str, partial: str, m: int) -> tirx.PrimFunc:
    """Let the nest of one block run over (tile, row of the tile, column of the tile, channel).

    Parameters
    ----------
    func : tirx.PrimFunc
        A root block around loop nests of one block each.
    out : str
        The block that stores pixels (n, y, x, f).
    partial : str
        The buffer that it reads by tile: (block of channels, tile, row of the tile, position, channel of the block).
    m : int
        Rows and columns of a tile as it is stored.
    """
    nests = [_by_tiles(nest, partial, m) if block_of_nest(nest).name_hint == out else nest for nest in nests_of(func)]
    return with_nests(func, nests, func.body.block.alloc_buffers)


def _by_tiles(nest: tirx.Stmt, partial: str, m: int) -> tirx.Stmt:
    pixels = block_of_nest(nest)
    n, y, x, f = pixels.iter_vars
    [source] = {region.source for region in pixels.reads if region.source.name == partial}
    images, height, width = (int(v.dom.extent) for v in (n, y, x))
    down, across = ceil(height / m), ceil(width / m)
    dtype = str(f.var.ty.dtype)
    count, channels = int(source.shape[1]), int(f.dom.extent)
    t, i, j, c = axes = [_axis(name, extent, dtype) for name, extent in (("t", count), ("i", m), ("j", m), ("f", channels))]
    analyzer = sym.Analyzer()
    for axis in axes:
        analyzer.bind(axis.var, axis.dom)
    pixel = {n.var: t.var // (down * across), y.var: t.var // across % down * m + i.var, x.var: t.var % across * m + j.var, f.var: c.var}

    def placed(expr: ir.Expr) -> ir.Expr:
        return analyzer.simplify(substitute(expr, pixel))

    def load(ld: ir.TensorLoad) -> ir.TensorLoad:
        if ld.source.same_as(source):
            return tirx.BufferLoad(source, [placed(ld.indices[0]), t.var, *(placed(e) for e in ld.indices[2:])])
        return tirx.BufferLoad(ld.source, [placed(e) for e in ld.indices])

    store = pixels.body
    value = substitute(tvm_ffi.structural_map(store.value, (ir.TensorLoad, load), order="post"), pixel)
    stored = tirx.BufferStore(store.buffer, value, [placed(e) for e in store.indices])
    inside = []
    if count > images * down * across:
        inside.append(t.var < images * down * across)
    inside += [pixel[v.var] < int(v.dom.extent) for v in (y, x) if int(v.dom.extent) % m]
    body = tirx.IfThenElse(tirx.all(*inside), stored, None) if inside else stored

    def region(r: tirx.BufferRegion) -> tirx.BufferRegion:
        if r.source.same_as(source):
            block, _, *rest = (_moved(e, placed) for e in r.region)
            return tirx.BufferRegion(source, [block, _one(t.var), *rest])
        return tirx.BufferRegion(r.source, [_moved(e, placed) for e in r.region])

    tiled = s_tir.SBlock(axes, [region(r) for r in pixels.reads], [region(r) for r in pixels.writes], pixels.name_hint, body)
    loops = [tirx.Var(a.var.name + "_loop", dtype) for a in axes]
    result = s_tir.SBlockRealize(loops, tirx.const(True, "bool"), tiled)
    for loop, axis in reversed(list(zip(loops, axes, strict=True))):
        result = tirx.For(loop, axis.dom.min, axis.dom.extent, tirx.ForKind.SERIAL, result)
    return result


def _axis(name: str, extent: int, dtype: str) -> tirx.IterVar:
    return tirx.IterVar(ir.Range(tirx.const(0, dtype), tirx.const(extent, dtype)), tirx.Var(name, dtype), tirx.IterVar.DataPar)


def _one(index: ir.Expr) -> ir.Range:
    return ir.Range.from_min_extent(index, tirx.const(1, str(index.ty.dtype)))


def _moved(part: ir.Range, placed: Callable[[ir.Expr], ir.Expr]) -> ir.Range:
    return ir.Range.from_min_extent(placed(part.min), placed(part.extent))
