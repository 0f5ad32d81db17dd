"""Recognise functions that reduce rows and then, perhaps, map over the same rows: what most networks' reductions look like.

    reduction:  y[r] = sum over k of x[r, k]
    softmax:    m[r] = max x[r, k];  e[r, k] = exp(x[r, k] - m[r]);  z[r] = sum e[r, k];  y[r, k] = e[r, k] / z[r]
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tvm import ir, tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from ...tir.analysis import Block, blocks_of, outputs
from ...tir.loop_nests import simplify_indices
from ...tir.tidy import tidied
from ..common import ON_STACK, worth_sharing
from ..injective.elementwise import schedule_spatial
from .columns import schedule_columns
from .rows import schedule_rows, with_lanes


@dataclass(frozen=True)
class SharedRows:
    """A function whose last block stores its one result and whose reductions all have one result for each row.

    Attributes
    ----------
    before : list of Block
        Those that come first and need no reduction: padding that is done once, say.
    blocks : list of Block
        The others, in order; `out` is the last.
    row_axes : list of int
        The axes of `out` that number the rows.
    """

    before: list[Block]
    blocks: list[Block]
    row_axes: list[int]

    @property
    def out(self) -> Block:
        return self.blocks[-1]

    @property
    def reductions(self) -> list[Block]:
        return [b for b in self.blocks if b.is_reduction]

    @property
    def maps_elements(self) -> bool:
        """Whether the result has several elements for each row."""
        return prod(self.out.sizes("S")) > self.rows

    @property
    def rows(self) -> int:
        return prod(self.out.extents[a] for a in self.row_axes)

    def work_cycles(self, target: CpuTarget) -> float:
        return sum(b.work_cycles(target.model) for b in self.blocks)

    def leaves_cores_idle(self, target: CpuTarget) -> bool:
        """Whether there is work for all cores, but fewer rows than cores, or than cache lines of columns for each core."""
        columns = all(b.vector_axis is not None for b in self.reductions)
        tasks = self.rows // min(self.rows, target.model.line_bytes // 4) if columns else self.rows
        return tasks < target.cores and worth_sharing(self.work_cycles(target) / 2, target)


def shared_rows(func: tirx.PrimFunc) -> tuple[Schedule, SharedRows] | None:
    """A schedule of the tidied function and its rows; None if it is of another kind."""
    s = tidied(func)
    if s is None:
        return None
    blocks = blocks_of(s)
    reductions = [b for b in blocks if b.is_reduction]
    results = outputs(s.mod["main"])
    if not reductions or len(results) != 1 or not all(b.plain and set(b.kinds) <= {"S", "R"} for b in blocks):
        return None
    out = blocks[-1]
    if not all(st.buffer.same_as(results[0]) for st in out.stores) or any(len(b.stores) > 1 and not b.is_reduction for b in blocks):
        return None
    groups = None if out.is_reduction else _groups(out, _of_rows(blocks))
    if groups is not None:
        s = _split_axis(s, out, *groups)
        blocks = blocks_of(s)
        out = blocks[-1]
        reductions = [b for b in blocks if b.is_reduction]
    row_axes: list[int] | None
    if out.is_reduction:
        row_axes = [i for i, k in enumerate(out.kinds) if k == "S"]
    else:
        row_axes = _axes_of_results(out, _of_rows(blocks)) if s.get_loops(out.rv) else []  # a scalar has one axis and no loop
    if row_axes is None or any(prod(b.sizes("S")) != prod(out.extents[a] for a in row_axes) for b in reductions):
        return None
    first = next(i for i, b in enumerate(blocks) if b.is_reduction)
    return s, SharedRows(blocks[:first], blocks[first:], row_axes)


def schedule_shared_rows(s: Schedule, shape: SharedRows, target: CpuTarget) -> Schedule:
    """The loop nest for the kind of rows: along the contiguous axis, or across it."""
    across = _share_columns(shape)
    if not across:
        s = Schedule(with_lanes(s.mod["main"], target))
    blocks = blocks_of(s)
    before, blocks = blocks[:len(shape.before)], blocks[len(shape.before):]
    for block in before:
        schedule_spatial(s, block.rv, target)
    *others, out = [b.rv for b in blocks]
    if not across:
        schedule_rows(s, out, others, shape.row_axes, shape.work_cycles(target), target)
        return s
    if shape.out.is_reduction:
        others.append(out)
        out = s.cache_write(out, 0, ON_STACK)
    schedule_columns(s, out, others, shape.row_axes, shape.work_cycles(target), target)
    return s


def _share_columns(shape: SharedRows) -> bool:
    """Whether the last axis of the result, and of all that it is computed from, is the contiguous one of the columns."""
    out, last = shape.out, shape.out.kinds.rfind("S")
    if last not in shape.row_axes or any(out.stride(st, last) != 1 for st in out.stores) or (out.is_reduction and len(out.stores) > 1):
        return False
    return all(b.vector_axis is not None for b in shape.reductions)


def _of_rows(blocks: Sequence[Block]) -> list[Block]:
    """The blocks before the last with one result for each row: reductions, and what is dear to compute from their results (1 / sqrt)."""
    first = next(i for i, b in enumerate(blocks) if b.is_reduction)
    rows = prod(blocks[first].sizes("S"))
    return [b for b in blocks[first:-1] if b.is_reduction or prod(b.extents) == rows]


def _axes_of_results(out: Block, of_rows: Sequence[Block]) -> list[int] | None:
    """The axes of `out` at which it reads results of rows; None if an index is more than an axis."""
    axes = set()
    for index in _indices_of_results(out, of_rows):
        axis = next((i for i, v in enumerate(out.axes) if v.same_as(index)), None)
        if axis is None and not isinstance(index, tirx.IntImm):
            return None
        if axis is not None:
            axes.add(axis)
    return sorted(axes | {i for i, e in enumerate(out.extents) if e == 1})


def _indices_of_results(out: Block, of_rows: Sequence[Block]) -> list[ir.Expr]:
    results = [st.buffer for b in of_rows for st in b.stores]
    return [i for ld in out.loads if any(ld.buffer.same_as(r) for r in results) for i in ld.indices]


def _groups(out: Block, of_rows: Sequence[Block]) -> tuple[int, int] | None:
    """The axis and the group size where results are read at `axis // size` (group normalisation)."""
    found = set()
    for index in _indices_of_results(out, of_rows):
        if isinstance(index, tirx.FloorDiv) and isinstance(index.b, tirx.IntImm):
            found |= {(i, int(index.b.value)) for i, v in enumerate(out.axes) if v.same_as(index.a)}
    return found.pop() if len(found) == 1 else None


def _split_axis(s: Schedule, out: Block, axis: int, size: int) -> Schedule:
    """Split an axis of the output.

    y[n, c] = x[n, c] - mean[n, c // size]    ->    y[n, g * size + i] = x[n, g * size + i] - mean[n, g]
    """
    dtype = str(out.axes[0].ty.dtype)

    def split(*v: ir.Expr) -> tuple[ir.Expr, ...]:
        return *v[:axis], v[axis] // size, v[axis] % size, *v[axis + 1:]

    s.transform_block_layout(out.rv, tirx.IndexMap.from_func(split, ndim=len(out.axes), index_dtype=dtype))
    return Schedule(simplify_indices(s.mod["main"]))
