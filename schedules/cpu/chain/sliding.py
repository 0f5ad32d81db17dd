"""Sliding windows: rows that two strips of a task read are kept for the second, not computed again.

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

BEGIN = "tenfold.begin"  # of a loop over rows: how many of them only the first strip computes
STRIP = 1                # axis of a plane (image, strip, ..., row, column, channel)


@dataclass(frozen=True)
class Window:
    """Rows of a plane that a strip works on.

    Parameters
    ----------
    plane : SBlockRV
        The block that stores it.
    row : LoopRV
        Its loop over rows.
    again : int
        Rows at the beginning that strips behind the first one don't compute.
    kept : bool
        Whether they read any of these.
    step : int
        From a strip's first row to that of the next one.
    channels : int
        That are read together, and lie side by side for that.
    """

    plane: SBlockRV
    row: LoopRV
    again: int
    kept: bool
    step: int
    channels: int


def slide(s: Schedule, strip: LoopRV, windows: Sequence[Window]) -> Schedule:
    """Let strips keep the rows that the next one reads.

    Parameters
    ----------
    s : Schedule
        Of a function whose planes are computed within the loop over strips, all rows of each strip.
    strip : LoopRV
        Serial, in a loop over tasks.
    windows : sequence of Window
        Of all planes that are not made row by row.

    Returns
    -------
    Schedule
        Of the changed function; what was taken from `s` is of no use for it.
    """
    loop, planes = s.get(strip), []
    several = int(loop.extent) > 1
    for window in windows:
        if several and window.again:
            s.annotate(window.row, BEGIN, window.again)
        planes.append(_OfTask(s.get(window.plane), window, several))
    change, func = _Change(loop, planes), s.mod["main"]
    rules = [(ir.TensorLoad, change.load), (tirx.BufferStore, change.store), (ir.TensorRegion, change.region),
             (s_tir.SBlockRealize, change.realize), (tirx.For, change.loop)]
    return Schedule(func.with_body(tvm_ffi.structural_map(func.body, rules, order="post")))


class _OfTask:
    """A plane that a task has for all its strips, (..., part of channels, row, column, channel).

    Rows that are kept lie where their numbers in the image say, modulo as many as a strip works on. TVM would shrink a plane of one strip,
    and complicate its indices, as the first strip computes other rows than those behind it.
    """

    def __init__(self, maker: s_tir.SBlock, window: Window, several_strips: bool):
        self.maker, self.source = maker.name_hint, maker.writes[0].source
        *lead, self.count, width, channels = (int(size) for size in self.source.shape[STRIP + 1 :])
        self.outlives_strips, self.step, self.kept = several_strips, window.step, window.kept and several_strips
        self.channels = window.channels if channels % window.channels == 0 else channels
        shape = [1, 1, *lead, channels // self.channels, self.count, width, self.channels]
        self.buffer = tirx.decl_buffer(shape, self.source.dtype, self.source.name)

    def place(self, indices: Sequence[ir.Expr]) -> list[ir.Expr]:
        """Where a number lies, from its indices in the plane of all strips."""
        zero = tirx.const(0, str(indices[STRIP].ty.dtype))
        *lead, row, column, channel = indices[STRIP + 1 :]
        if self.kept:
            row = tirx.floormod(indices[STRIP] * self.step + row, self.count)
        part, within = tirx.floordiv(channel, self.channels), tirx.floormod(channel, self.channels)
        return [zero, zero, *lead, part, row, column, within]


class _Change:
    """What becomes of the nodes of a function whose planes are those of a task.

    Parameters
    ----------
    strip : For
        The loop over strips.
    planes : sequence of _OfTask
    """

    def __init__(self, strip: tirx.For, planes: Sequence[_OfTask]):
        self.strip, self.planes = strip, planes
        self.dtype = str(strip.loop_var.ty.dtype)

    def plane_of(self, source: tirx.Buffer) -> _OfTask | None:
        return next((plane for plane in self.planes if plane.source.same_as(source)), None)

    def load(self, node: ir.TensorLoad) -> ir.TensorLoad:
        plane = self.plane_of(node.source)
        return node if plane is None else tirx.BufferLoad(plane.buffer, plane.place(node.indices))

    def store(self, node: tirx.BufferStore) -> tirx.BufferStore:
        plane = self.plane_of(node.buffer)
        return node if plane is None else tirx.BufferStore(plane.buffer, node.value, plane.place(node.indices))

    def region(self, node: ir.TensorRegion) -> ir.TensorRegion:
        """All of a plane: what exactly, TVM sees in the block."""
        plane = self.plane_of(node.source)
        if plane is None:
            return node
        return tirx.BufferRegion(plane.buffer, [ir.Range(tirx.const(0, self.dtype), size) for size in plane.buffer.shape])

    def realize(self, node: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
        block = node.block
        if not block.iter_vars:  # the root
            planes = [self.plane_of(buffer) for buffer in block.alloc_buffers]
            buffers = [b if plane is None else plane.buffer for b, plane in zip(block.alloc_buffers, planes, strict=True)]
            return s_tir.SBlockRealize(node.iter_values, node.predicate, _changed(block, block.iter_vars, buffers))
        if not any(plane.outlives_strips and plane.maker == block.name_hint for plane in self.planes):
            return node
        # An axis that is not parallel tells TVM that the plane is there longer than for a strip.
        order = tirx.IterVar(ir.Range(0, self.strip.extent), tirx.Var("v_strip", self.dtype), tirx.IterVar.Opaque)
        block = _changed(block, [*block.iter_vars, order], block.alloc_buffers)
        return s_tir.SBlockRealize([*node.iter_values, self.strip.loop_var], node.predicate, block)

    def loop(self, node: tirx.For) -> tirx.For:
        if BEGIN not in node.annotations:
            return node
        begin = tirx.min(self.strip.loop_var, tirx.const(1, self.dtype)) * node.annotations[BEGIN]
        return tirx.For(node.loop_var, begin, node.extent - begin, node.kind, node.body)


def _changed(block: s_tir.SBlock, axes: Sequence[tirx.IterVar], buffers: Sequence[tirx.Buffer]) -> s_tir.SBlock:
    return s_tir.SBlock(axes, block.reads, block.writes, block.name_hint, block.body, block.init, buffers, block.match_buffers,
                        block.annotations)
