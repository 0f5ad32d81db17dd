"""The result of a Winograd convolution is stored tile by tile, also for images whose sides are no multiples of a tile's.

    for n, y, x, f:    out[n, y, x, f] = g(partial[.., tile(n, y, x), y % m, .., ..], n, y, x, f)
        ->
    for t, i, j, f:    if pixel (i, j) of tile t exists:    out[n(t), y(t, i), x(t, j), f] = g(partial[.., t, i, .., ..], ...)

Here the tile is a loop variable. Where the channels don't fill the last block, the last vector has the lanes that are left.
"""
from __future__ import annotations

from tvm import tirx

from ...tir.loop_nests import block_of_nest, nests_of, with_nests
from ...tir.other_axes import axis, over_axes
from .tile_grid import TileGrid


def store_by_tiles(func: tirx.PrimFunc, out: str, partial: str, tile: tuple[int, int], dilation: tuple[int, int]) -> tirx.PrimFunc:
    """Let the nest of one block run over (tile, row of the tile, column of the tile, channel).

    Parameters
    ----------
    func : tirx.PrimFunc
        A root block around loop nests of one block each.
    out : str
        The block that stores pixels (n, y, x, f).
    partial : str
        The buffer that it reads by tile: (block of channels, tile, row of the tile, position, channel of the block).
    tile : tuple of int
        Rows and columns of a tile as it is stored, and lanes of a vector.
    dilation : tuple of int
        Of the convolution.
    """
    nests = [_by_tiles(nest, partial, *tile, dilation) if block_of_nest(nest).name_hint == out else nest for nest in nests_of(func)]
    return with_nests(func, nests, func.body.block.alloc_buffers)


def _by_tiles(nest: tirx.Stmt, partial: str, m: int, lanes: int, dilation: tuple[int, int]) -> tirx.Stmt:
    pixels = block_of_nest(nest)
    n, y, x, f = pixels.iter_vars
    [source] = {region.source for region in pixels.reads if region.source.name == partial}
    images, height, width, filters = (int(v.dom.extent) for v in (n, y, x, f))
    grid = TileGrid((height, width), dilation, m)
    down, across = grid.counts
    dtype = str(f.var.ty.dtype)
    count, channels = int(source.shape[1]), int(source.shape[0]) * int(source.shape[4])
    t, i, j, c = axes = [axis(name, extent, dtype) for name, extent in (("t", count), ("i", m), ("j", m), ("f", channels))]
    pixel = {n.var: t.var // (down * across), y.var: grid.position(0, t.var // across % down, i.var),
             x.var: grid.position(1, t.var % across, j.var), f.var: c.var}
    inside = []
    if count > images * down * across:
        inside.append(t.var < images * down * across)
    inside += [pixel[v.var] < size for number, (v, size) in enumerate(((y, height), (x, width))) if grid.ragged(number)]
    cases = [inside]
    if channels > filters:  # vectors that are filled, and one that is in part
        vector, whole, left = c.var // lanes, filters // lanes, filters % lanes
        cases = [[*inside, vector < whole]] * (whole > 0)
        cases += [[*inside, vector <= whole, vector >= whole, c.var % lanes < left]] * (left > 0)
    return over_axes(nest, axes, pixel, source, {1: t.var}, cases)
