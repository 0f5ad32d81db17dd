"""Where channels don't fill the last block of a group, the result is stored block by block: the last vector has the lanes that are left.

    for n, y, x, f:    out[n, y, x, f] = g(acc[n, block(f), y, x, f % size], n, y, x, f)
        ->
    for n, b, y, x, v:    if b is not the last block of its group:    out[n, y, x, f(b, v)] = g(acc[n, b, y, x, v], ...)
                          if it is, and v < what is left:             out[n, y, x, f(b, v)] = g(acc[n, b, y, x, v], ...)

Each store has as many lanes as are known when the code is made, which a condition on v alone, for any block, would not give.
"""
from __future__ import annotations

from tvm import ir, tirx

from ...tir.loop_nests import block_of_nest, nests_of, with_nests
from ...tir.other_axes import axis, over_axes
from .compute import unravel


def store_by_blocks(func: tirx.PrimFunc, out: str, conv: str, groups: int) -> tirx.PrimFunc:
    """Let the nest of one block run over (image, block of channels, line or row and column, channel of the block).

    Parameters
    ----------
    func : tirx.PrimFunc
        A root block around loop nests of one block each.
    out : str
        The block that stores pixels (..., f).
    conv : str
        The buffer that it reads, of whole blocks: (n, block, pixel in a line, channel), or (n, block, y, x, channel).
    groups : int
        Of the convolution.
    """
    nests = [_by_blocks(nest, conv, groups) if block_of_nest(nest).name_hint == out else nest for nest in nests_of(func)]
    return with_nests(func, nests, func.body.block.alloc_buffers)


def _by_blocks(nest: tirx.Stmt, conv: str, groups: int) -> tirx.Stmt:
    *lead, f = block_of_nest(nest).iter_vars
    [source] = {region.source for region in block_of_nest(nest).reads if region.source.name == conv}
    shape, dtype = [int(size) for size in source.shape], str(f.var.ty.dtype)
    per_group, (blocks, size) = int(f.dom.extent) // groups, (shape[1] // groups, shape[-1])
    names = ("n", "b", "p", "v") if len(shape) == 4 else ("n", "b", "y", "x", "v")
    axes = [axis(name, extent, dtype) for name, extent in zip(names, shape, strict=True)]
    n, b, *space, v = (one.var for one in axes)
    extents = [int(one.dom.extent) for one in lead]
    if len(space) == 1:  # pixels in a line: of each image, or of all rows of a dense layer
        own = extents[1:] if len(lead) == 3 and shape[0] == extents[0] else extents
        index = [n, *unravel(space[0], own)] if own != extents else unravel(space[0], own)
        total = 1
        for extent in own:
            total *= extent
        exists = [space[0] < total] if shape[2] > total else []
    else:
        index = [n, *space]
        exists = [at < extent for at, extent, padded in zip(space, extents[1:], shape[2:4], strict=True) if padded > extent]
    places: dict[ir.Var, ir.Expr] = {one.var: at for one, at in zip(lead, index, strict=True)}
    places[f.var] = b // blocks * per_group + b % blocks * size + v
    last, left = b % blocks, per_group - (blocks - 1) * size
    cases = [[*exists, last < blocks - 1], [*exists, last >= blocks - 1, v < left]] if blocks > 1 else [[*exists, v < left]]
    return over_axes(nest, axes, places, source, dict(enumerate([n, b, *space, v])), cases)
