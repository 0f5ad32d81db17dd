"""Schedule of a chain.

    block (image, tile of rows, tile of columns)
        stage by stage                                          its plane in shared memory
            threads: tiles of pixels and four filters
                channels of its input, a few at a time
                    the first stage: those of the image -> shared memory
                    weights -> shared memory
                    unrolled products
        the last stage: the epilogue, fused into the store

A depthwise stage reads its plane and its weights where they lie: a thread has a pixel and four channels.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError

from ....targets import GpuTarget
from ...tir.analysis import find_annotated
from ...tir.epilogue import inline_epilogue
from ...tir.read_regions import reading_own, reading_whole
from ..common import BLOCKS, THREADS_X, VECTOR, extent_of, schedule_spatial
from .compute import ANNOTATION, CHANNELS, PLANE, SOURCE, SUMS, pixels_of, side_by_side

SHARED = "shared.dyn"  # one piece of memory of all planes: more than 48 KiB are only to be had so


def schedule_chain(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Schedule a function around a chain, with any element-wise epilogue; None for every other function."""
    s = Schedule(func)
    last = find_annotated(s, ANNOTATION)
    if last is None:
        return None
    rows, columns, threads = (int(value) for value in s.get(last).annotations[ANNOTATION])
    # 1. The blocks: sums and planes of each stage, one that stores, and what lies behind.
    out = inline_epilogue(s, last, keep=(SOURCE, SUMS, PLANE))
    names = [s.get(block).name_hint for block in s.get_child_blocks(s.get_sblock("root"))]
    result = s.get(out).name_hint
    behind = names[names.index(result) + 1 :]
    sums = [f"{SUMS}{i}" for i in range(sum(name.startswith(SUMS) for name in names))]
    planes = [SOURCE, *(f"{PLANE}{i}" for i in range(len(sums) - 1))]
    # 2. A block for each tile, and in it the whole tile of each plane.
    s = Schedule(reading_whole(s.mod["main"], sums, (3, 4), planes))
    s.bind(_tiles(s, s.get_sblock(result), rows, columns), BLOCKS)
    block = s.get_loops(s.get_sblock(result))[0]
    for own, plane in zip(reversed(sums), reversed(planes), strict=True):
        s.set_scope(own, 0, "local")
        s.compute_at(own, block, preserve_unit_loops=True)
        s.set_scope(plane, 0, SHARED)
        if plane != SOURCE:
            s.compute_at(plane, block, preserve_unit_loops=True)
    s = Schedule(reading_own(s.mod["main"], sums))
    # 3. Each stage for itself, the last one first.
    for index, plane in reversed(list(enumerate((*planes[1:], result)))):
        source = s.get_sblock(SOURCE) if index == 0 else None
        _Stage(s, s.get_sblock(sums[index]), source, threads).fill(s.get_sblock(plane))
    # 4. Element-wise blocks behind the epilogue, which have another shape.
    for name in behind:
        schedule_spatial(s, s.get_sblock(name))
    return s


def _tiles(s: Schedule, out: SBlockRV, rows: int, columns: int) -> LoopRV:
    """Cut the loops of the result into tiles; the loop over these."""
    n, y, x, _ = s.get_loops(out)
    tile_y, inner_y = s.split(y, [None, rows])
    tile_x, inner_x = s.split(x, [None, columns])
    s.reorder(n, tile_y, tile_x, inner_y, inner_x)
    return s.fuse(n, tile_y, tile_x)


@dataclass(frozen=True)
class _Stage:
    """One stage: the block of its sums, and the image where it is the first."""

    s: Schedule
    sums: SBlockRV
    source: SBlockRV | None
    threads: int

    @property
    def depthwise(self) -> bool:
        return len(self.s.get(self.sums).iter_vars) == 8

    def fill(self, plane: SBlockRV) -> None:
        """Schedule the plane behind the stage, and the sums for it."""
        s = self.s
        *_, y, x, f = s.get_loops(plane)
        thread, pixels, lanes = self._threads(y, x, f)
        s.vectorize(lanes)
        s.unroll(pixels)
        s.compute_at(self.sums, thread, preserve_unit_loops=True)
        loops = s.get_loops(self.sums)
        x, f, *reduced = loops[-4:] if self.depthwise else loops[-5:]
        self._sums(x, f, reduced)

    def _threads(self, y: LoopRV, x: LoopRV, f: LoopRV) -> tuple[LoopRV, LoopRV, LoopRV]:
        """Cut the loops over pixels and filters into threads; the loop over these, over pixels of a thread and over its filters."""
        s = self.s
        neighbours = side_by_side(extent_of(s, f), self.threads)
        own = pixels_of((extent_of(s, y), extent_of(s, x)), extent_of(s, f), self.threads, self.depthwise)
        assert own is not None  # `tile.allowed`
        x, pixels = s.split(x, [None, own])
        passes, quad, lanes = s.split(f, [None, neighbours, VECTOR])
        s.reorder(y, x, passes, quad, pixels, lanes)
        group, pixel = s.split(s.fuse(y, x), [None, self.threads // neighbours])
        s.reorder(group, passes, pixel, quad)
        thread = s.fuse(pixel, quad)
        s.bind(thread, THREADS_X)
        return thread, pixels, lanes

    def _sums(self, pixels: LoopRV, lanes: LoopRV, reduced: list[LoopRV]) -> None:
        """Schedule the products of a thread."""
        if self.depthwise:
            self._depthwise(pixels, lanes, reduced)
        else:
            self._dense(pixels, lanes, reduced)

    def _depthwise(self, pixels: LoopRV, lanes: LoopRV, reduced: list[LoopRV]) -> None:
        s = self.s
        if self.source is not None:
            raise ScheduleError("a chain that begins with a depthwise stage")
        s.reorder(*reduced, pixels, lanes)
        for loop in (*reduced, pixels):
            s.unroll(loop)
        s.vectorize(lanes)
        init = s.decompose_reduction(self.sums, reduced[0])
        s.vectorize(s.get_loops(init)[-1])

    def _dense(self, pixels: LoopRV, lanes: LoopRV, reduced: list[LoopRV]) -> None:
        s = self.s
        ci, ky, kx = reduced
        few = gcd(CHANNELS, extent_of(s, ci))  # whole steps: a condition on a part of one would be lost where blocks are moved
        step, inner = s.split(ci, [None, few])
        four, one = s.split(inner, [None, VECTOR])
        s.reorder(step, ky, kx, four, one, pixels, lanes)
        weights = s.cache_read(self.sums, 1, SHARED)
        s.compute_at(weights, kx, preserve_unit_loops=True)
        self._copy(weights)
        if self.source is not None:
            s.compute_at(self.source, step, preserve_unit_loops=True)
            self._copy(self.source)
        values = s.cache_read(self.sums, 0, "local")
        s.compute_at(values, four, preserve_unit_loops=True)
        s.vectorize(s.get_loops(values)[-1])
        own = s.cache_read(self.sums, 1, "local")
        s.compute_at(own, one, preserve_unit_loops=True)
        s.vectorize(s.get_loops(own)[-1])
        for loop in (four, one, pixels, lanes):
            s.unroll(loop)
        s.decompose_reduction(self.sums, step)

    def _copy(self, block: SBlockRV) -> None:
        """Copy a part of a tensor to shared memory: neighbouring threads copy neighbouring vectors."""
        s = self.s
        fused = s.fuse(*s.get_loops(block)[-4:])
        _, thread, lanes = s.split(fused, [None, self.threads, VECTOR])
        s.bind(thread, THREADS_X)
        s.vectorize(lanes)
