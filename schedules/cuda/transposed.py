"""Element-wise functions that read along another axis than they store: a tile goes through shared memory, so that both go along their own.

    block (all axes, of two groups the tiles)
        threads: the tile -> shared memory, neighbours next to each other as they are read
        threads: the elements of the tile, neighbours next to each other as they are stored
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ..tir.analysis import Block, block_of
from .common import BLOCKS, THREADS, THREADS_X, threads_for

BANKS = 32
NARROW, WIDE = 32, 64  # elements of a tile along both groups: whole sectors, and enough blocks


@dataclass(frozen=True)
class Crossing:
    """A load that goes along other axes than the store.

    Attributes
    ----------
    load : int
        Its number among the buffers that the block reads.
    stored, read : tuple of int
        The last axes of the store, and those of the load, outermost first; each group is contiguous in its tensor.
    """

    load: int
    stored: tuple[int, ...]
    read: tuple[int, ...]


def crossing_of(block: Block) -> Crossing | None:
    """Find the load of a spatial block that goes along another axis than the store; None where there is none, or it is not plain."""
    if set(block.kinds) != {"S"} or not block.plain or block.branches or block.names or len(block.stores) != 1:
        return None
    if len({load.buffer for load in block.loads}) != len(block.loads):
        return None
    stored = _contiguous(block, [block.stride(block.stores[0], axis) for axis in range(len(block.extents))], ())
    for number, region in enumerate(block.stmt.reads):
        load = next(load for load in block.loads if load.buffer.same_as(region.source))
        strides = [block.stride(load, axis) for axis in range(len(block.extents))]
        if not stored or None in strides or strides[stored[-1]] in (0, 1) or prod(region.source.shape) < block.points:
            continue
        read = _contiguous(block, strides, stored[-1:])
        if read:
            return Crossing(number, tuple(axis for axis in stored if axis not in read), read)
    return None


def _contiguous(block: Block, strides: Sequence[int | None], others: Sequence[int]) -> tuple[int, ...]:
    """The axes that a tensor goes along in one piece, the innermost last."""
    axes: list[int] = []
    length = 1
    while True:
        inner = next((axis for axis, stride in enumerate(strides)
                      if stride == length and block.extents[axis] > 1 and axis not in (*axes, *others)), None)
        if inner is None:
            return tuple(axes)
        axes.insert(0, inner)
        length *= block.extents[inner]


def schedule_crossing(s: Schedule, rv: SBlockRV, crossing: Crossing) -> None:
    """Schedule such a block.

    Parameters
    ----------
    s : Schedule
    rv : SBlockRV
    crossing : Crossing
    """
    block, loops = block_of(s, rv), list(s.get_loops(rv))
    read = _cut(block, crossing.read, NARROW if prod(block.extents[axis] for axis in crossing.read) > NARROW else WIDE)
    stored = _cut(block, crossing.stored, max(1, NARROW * WIDE // prod(read.values())))
    outer: list[LoopRV] = []
    inner: list[LoopRV] = []
    for axis, loop in enumerate(loops):
        size = {**read, **stored}.get(axis, 1)
        if size == block.extents[axis]:
            inner.append(loop)
        elif size == 1:
            outer.append(loop)
        else:
            tile, own = s.split(loop, [None, size])
            outer.append(tile)
            inner.append(own)
    if not outer:
        outer = [s.add_unit_loop(inner[0])]
    s.reorder(*outer, *inner)
    tiles = s.fuse(*outer) if len(outer) > 1 else outer[0]
    s.bind(tiles, BLOCKS)
    buffer = block.stmt.reads[crossing.load].source
    copy = s.cache_read(rv, crossing.load, "shared")
    s.compute_at(copy, tiles, preserve_unit_loops=True)
    threads = threads_for(prod({**read, **stored}.values()), THREADS)
    own = s.get_loops(copy)[1:]
    for group in (own, inner):
        _, thread = s.split(s.fuse(*group) if len(group) > 1 else group[0], [None, threads])
        s.bind(thread, THREADS_X)
    # Rows of the copy begin in different banks.
    dimension = _dimension(block, crossing, len(buffer.shape))
    if dimension is not None:
        beside = stored[crossing.stored[-1]]  # elements of a row of the store: where they are few, a warp has several rows of them
        s.storage_align(copy, 0, axis=dimension, factor=BANKS, offset=-(-BANKS // beside) % BANKS or 1)


def _cut(block: Block, group: Sequence[int], most: int) -> dict[int, int]:
    """How much of each axis of a group a tile has, from the innermost: whole axes, and of the last one a part."""
    found: dict[int, int] = {}
    room = most
    for axis in reversed(group):
        extent = block.extents[axis]
        found[axis] = extent if extent <= room else _part(extent, room)
        if found[axis] < extent:
            break
        room //= extent
        if room < 2:
            break
    return found


def _part(extent: int, most: int) -> int:
    """A part of an axis: one that leaves no rest, if it is not much smaller."""
    return next((size for size in range(most, most // 2, -1) if extent % size == 0), most)


def _dimension(block: Block, crossing: Crossing, dimensions: int) -> int | None:
    """The dimension of what is read that the store goes along."""
    load = next(load for load in block.loads if load.buffer.same_as(block.stmt.reads[crossing.load].source))
    var = block.axes[crossing.stored[-1]]
    found = [number for number, index in enumerate(load.indices) if index.same_as(var)]
    return found[0] if found and found[0] < dimensions - 1 else None
