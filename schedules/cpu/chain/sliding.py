"""Sliding windows: rows that two strips of a task read are kept for the second strip, not computed again.

    for strip:                                    for strip:
        for r in range(6):                            for r in range(2 if strip > 0 else 0, 6):
            plane[strip, r] = ...          ->             plane[(4 * strip + r) % 6] = ...
        ... = f(plane[strip, r : r + 3])              ... = f(plane[(4 * strip + r) % 6], ...)
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

BEGIN = "tenfold.begin"  # annotation of a loop over rows: how many of them only the first strip computes
STRIP = 1                # which axis of a plane is the strips: (image, strip, ..., row, column, channel)


@dataclass(frozen=True)
class Window:
    """The rows of a plane that a strip works on.

    Parameters
    ----------
    plane : SBlockRV
        The block that stores it.
    row : LoopRV
        Its loop over rows.
    again : int
        How many rows at the beginning only a task's first strip computes.
    kept : bool
        Whether later strips read any of these.
    step : int
        Rows from a strip's first row to that of the next strip.
    channels : int
        How many channels are read together, and therefore lie side by side.
    """

    plane: SBlockRV
    row: LoopRV
    again: int
    kept: bool
    step: int
    channels: int


def slide(s: Schedule, strip: LoopRV, windows: Sequence[Window]) -> Schedule:
    """Let each strip keep the rows that the next one reads.

    Parameters
    ----------
    s : Schedule
        The schedule of a function whose planes are computed within the loop over strips, all rows of each strip.
    strip : LoopRV
        The loop over strips: serial, within a loop over tasks.
    windows : sequence of Window
        One for each plane that is not made row by row.

    Returns
    -------
    Schedule
        A schedule of the changed function. Blocks and loops taken from `s` are not valid in it.
    """
    loop = s.get(strip)
    planes: list[_TaskPlane] = []
    several = int(loop.extent) > 1
    for window in windows:
        if several and window.again:
            s.annotate(window.row, BEGIN, window.again)
        planes.append(_TaskPlane(s.get(window.plane), window, several))
    change, func = _PlaneRewriter(loop, planes), s.mod["main"]
    rules = [(ir.TensorLoad, change.load), (tirx.BufferStore, change.store), (ir.TensorRegion, change.region),
             (s_tir.SBlockRealize, change.realize), (tirx.For, change.loop)]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, rules, order="post")))


class _TaskPlane:
    """A plane that a task uses for all its strips, (..., part of channels, row, column, channel).

    Rows that are kept lie at their number in the image modulo the number of rows that a strip works on. A plane for one strip would not do:
    the first strip computes other rows than later ones, so TVM would shrink the plane and complicate its indices.
    """

    def __init__(self, maker: s_tir.SBlock, window: Window, several_strips: bool):
        self.maker, self.source = maker.name_hint, maker.writes[0].source
        *lead, self.count, width, channels = (int(size) for size in self.source.shape[STRIP + 1 :])
        self.outlives_strips, self.step, self.kept = several_strips, window.step, window.kept and several_strips
        self.channels = window.channels if channels % window.channels == 0 else channels
        shape = [1, 1, *lead, channels // self.channels, self.count, width, self.channels]
        self.buffer = tirx.decl_buffer(shape, self.source.dtype, self.source.name)

    def place(self, indices: Sequence[ir.Expr]) -> list[ir.Expr]:
        """The indices of a number, from those it has where every strip has rows of its own."""
        zero = tirx.const(0, str(indices[STRIP].ty.dtype))
        *lead, row, column, channel = indices[STRIP + 1 :]
        if self.kept:
            row = tirx.floormod(indices[STRIP] * self.step + row, self.count)
        part, within = tirx.floordiv(channel, self.channels), tirx.floormod(channel, self.channels)
        return [zero, zero, *lead, part, row, column, within]


class _PlaneRewriter:
    """Rewrites the nodes of a function for planes that a task uses for all its strips.

    Parameters
    ----------
    strip : For
        The loop over strips.
    planes : sequence of _TaskPlane
        The planes.
    """

    def __init__(self, strip: tirx.For, planes: Sequence[_TaskPlane]):
        self.strip, self.planes = strip, planes
        self.dtype = str(strip.loop_var.ty.dtype)

    def plane_of(self, source: tirx.Buffer) -> _TaskPlane | None:
        """The new plane in the place of a buffer; None for every other buffer."""
        return next((plane for plane in self.planes if plane.source.same_as(source)), None)

    def load(self, node: ir.TensorLoad) -> ir.TensorLoad:
        """Rewrite a load."""
        plane = self.plane_of(node.source)
        return node if plane is None else tirx.BufferLoad(plane.buffer, plane.place(node.indices))

    def store(self, node: tirx.BufferStore) -> tirx.BufferStore:
        """Rewrite a store."""
        plane = self.plane_of(node.buffer)
        return node if plane is None else tirx.BufferStore(plane.buffer, node.value, plane.place(node.indices))

    def region(self, node: ir.TensorRegion) -> ir.TensorRegion:
        """Declare that all of a plane is read or written; TVM finds the exact region in the block."""
        plane = self.plane_of(node.source)
        if plane is None:
            return node
        return tirx.BufferRegion(plane.buffer, [ir.Range(tirx.const(0, self.dtype), size) for size in plane.buffer.shape])

    def realize(self, node: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
        """Allocate the new planes in the root, and let the blocks that make them outlive a strip."""
        block = node.block
        if not block.iter_vars:  # the root
            planes = [self.plane_of(buffer) for buffer in block.alloc_buffers]
            buffers = [b if plane is None else plane.buffer for b, plane in zip(block.alloc_buffers, planes, strict=True)]
            return s_tir.SBlockRealize(node.iter_values, node.predicate, _changed(block, block.iter_vars, buffers))
        if not any(plane.outlives_strips and plane.maker == block.name_hint for plane in self.planes):
            return node
        # An axis that is not parallel tells TVM that the plane lives longer than a strip.
        order = tirx.IterVar(ir.Range(0, self.strip.extent), tirx.Var("v_strip", self.dtype), tirx.IterVar.Opaque)
        block = _changed(block, [*block.iter_vars, order], block.alloc_buffers)
        return s_tir.SBlockRealize([*node.iter_values, self.strip.loop_var], node.predicate, block)

    def loop(self, node: tirx.For) -> tirx.For:
        """Let later strips begin behind the rows that are there already."""
        if BEGIN not in node.annotations:
            return node
        begin = tirx.min(self.strip.loop_var, tirx.const(1, self.dtype)) * node.annotations[BEGIN]
        return tirx.For(node.loop_var, begin, node.extent - begin, node.kind, node.body)


def _changed(block: s_tir.SBlock, axes: Sequence[tirx.IterVar], buffers: Sequence[tirx.Buffer]) -> s_tir.SBlock:
    return s_tir.SBlock(axes, block.reads, block.writes, block.name_hint, block.body, block.init, buffers, block.match_buffers,
                        block.annotations)
