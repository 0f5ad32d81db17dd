"""What blocks are said to read: a block that is moved to a loop computes what its readers are said to read there."""
from __future__ import annotations

from collections.abc import Callable, Collection

import tvm_ffi
from tvm import ir, s_tir, tirx

from .loop_nests import add_region, changed, loads_in, point


def reading_whole(func: tirx.PrimFunc, blocks: Collection[str], axes: Collection[int], buffers: Collection[str]) -> tirx.PrimFunc:
    """Let blocks be said to read all of some buffers along some axes.

    Parameters
    ----------
    func : tirx.PrimFunc
    blocks : collection of str
        Their names.
    axes : collection of int
        Of the buffers.
    buffers : collection of str
        Their names.
    """
    def widened(region: tirx.BufferRegion) -> tirx.BufferRegion:
        if str(region.source.name) not in buffers:
            return region
        shape = region.source.shape
        ranges = [ir.Range(tirx.const(0, str(each.min.ty.dtype)), shape[axis]) if axis in axes else each
                  for axis, each in enumerate(region.region)]
        return tirx.BufferRegion(region.source, ranges)

    return _with_reads(func, blocks, lambda block: [widened(region) for region in block.reads])


def reading_own(func: tirx.PrimFunc, blocks: Collection[str]) -> tirx.PrimFunc:
    """Let blocks be said to read what they do read: single elements, of which one stands for all in the loops around it."""
    def found(block: s_tir.SBlock) -> list[tirx.BufferRegion]:
        own = [region.source for region in block.writes]
        reads: list[tirx.BufferRegion] = []
        for load in loads_in(block.body):
            if not any(load.source.same_as(buffer) for buffer in own):
                add_region(reads, point(load.source, load.indices))
        return reads

    return _with_reads(func, blocks, found)


def _with_reads(func: tirx.PrimFunc, blocks: Collection[str],
                reads: Callable[[s_tir.SBlock], list[tirx.BufferRegion]]) -> tirx.PrimFunc:
    def visit(block: s_tir.SBlock) -> s_tir.SBlock:
        return changed(block, reads=reads(block)) if str(block.name_hint) in blocks else block

    return func.with_body(tvm_ffi.structural_map(func.body, (s_tir.SBlock, visit), order="post"))
