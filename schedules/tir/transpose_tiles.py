"""Tiles of a permute that are transposed in registers: whole vectors are loaded and stored, and shuffled in between.

    for r in unrolled(4):                                   v0, v1, v2, v3 = x[0, 0:4], x[1, 0:4], x[2, 0:4], x[3, 0:4]
        for l in vectorized(4):                             s0, s1, s2, s3 = low(v0, v1), high(v0, v1), low(v2, v3), high(v2, v3)
            y[r, l] = x[l, r]                       ->      y[0, 0:4], ... = low(s0, s2), high(s0, s2), ...

From the plain loops TVM makes vectors of numbers that it loads one by one: two instructions for each number. This takes a quarter of one.
A loop asks for it by the annotation `TRANSPOSE`.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import ir, sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from .loop_nests import substitute
from .module_pass import ModulePass

SIZES = (4, 8, 16)  # rows and columns of a tile that can be transposed
TRANSPOSE = "tenfold.transpose"  # annotation of the loop over rows, around that over columns: how many of each a whole tile has


def transposed_tiles(s: Schedule, row: LoopRV, column: LoopRV, lanes: int, loads_go_on: bool,
                     within: Sequence[LoopRV] = ()) -> list[LoopRV]:
    """Cut the loops of a block that copies into tiles, and ask for their transposition.

    Parameters
    ----------
    s : Schedule
        The schedule of the block.
    row, column : LoopRV
        The loop along which loads are contiguous, and the one along which stores are.
    lanes : int
        Numbers in a vector. Tiles have as many rows and columns, or as many as the shorter axis. The last ones may be cut short.
    loads_go_on : bool
        Whether tiles follow each other along what is loaded, else along what is stored. Choose the one whose vectors lie further apart:
        they share few sets of the L1 cache, so a line should be used up before the next vectors come.
    within : sequence of LoopRV
        Loops to place inside the loop over tiles of the other axis, such as the rows of an image.

    Returns
    -------
    list of LoopRV
        The loops around one tile.
    """
    shorter = min(int(s.get(loop).extent) for loop in (row, column))
    size = max((size for size in SIZES if size <= min(lanes, shorter)), default=min(SIZES))
    row_out, row_in = s.split(row, [None, size])
    column_out, column_in = s.split(column, [None, size])
    other, along = (column_out, row_out) if loads_go_on else (row_out, column_out)
    s.reorder(other, *within, along, row_in, column_in)
    s.annotate(row_in, TRANSPOSE, size)
    return [other, *within, along]


@tvm.transform.module_pass(opt_level=0, name="TransposeTiles")
class TransposeTiles(ModulePass):
    """Rewrite the annotated loops of all kernels of a module without blocks."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: transpose_tiles(f) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def transpose_tiles(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Transpose the tiles of a function in registers.

    A tile that is cut short at an end begins earlier, so that it is whole, and repeats what the one before it did. Where it can't be shown
    that this stays within the same copy, its numbers are copied one by one.
    """
    loops: list[tirx.For] = []
    tvm_ffi.structural_walk(func.body, (tirx.For, loops.append))

    def rewrite(loop: tirx.For) -> tirx.Stmt:
        if TRANSPOSE not in loop.annotations:
            return loop
        tile = _Tile.of(loop, loops)
        if tile is None:
            return _as_written(loop)
        shuffled = _shuffled(loop, tile)
        if tile.exists is not None:
            shuffled = tirx.IfThenElse(tile.exists, shuffled, _constant_vectors(loop, tile))
        return tirx.IfThenElse(tirx.all(*tile.whole), shuffled, _as_written(loop)) if tile.whole else shuffled

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, rewrite), order="post"))


@dataclass(frozen=True)
class _Tile:
    """A tile whose loads are contiguous along its rows and whose stores are along its columns.

    Attributes
    ----------
    store : BufferStore
        The copy of one number.
    load : TensorLoad
        What it reads.
    begin : tuple of Expr
        The row and the column of its first number, counted from those of the loops: negative where it begins earlier, else 0.
    whole : list of Expr
        Conditions under which it has all its rows and columns.
    exists : Expr, optional
        Whether its numbers are loaded; where this is false they are a constant, as outside an image.
    """

    store: tirx.BufferStore
    load: ir.TensorLoad
    begin: tuple[ir.Expr, ir.Expr]
    whole: list[ir.Expr]
    exists: ir.Expr | None

    @classmethod
    def of(cls, loop: tirx.For, loops: Sequence[tirx.For]) -> _Tile | None:
        """The tile of a loop over rows; None where the loop is of another form."""
        size, inner = int(loop.annotations[TRANSPOSE]), loop.body
        if not isinstance(inner, tirx.For) or not isinstance(inner.body, tirx.BufferStore):
            return None
        store, short = inner.body, [one for one in (loop, inner) if _constant(one.extent) != size]
        if any(_constant(one.extent) is not None for one in short) or any(_constant(one.min) != 0 for one in (loop, inner)):
            return None
        load, exists = store.value, None
        if isinstance(load, ir.Call) and load.op.name == "tirx.if_then_else" and isinstance(load.args[2], tirx.FloatImm):
            exists, load, _ = load.args
        if not isinstance(load, ir.TensorLoad) or (exists is not None and any(_uses(exists, one.loop_var) for one in (loop, inner))):
            return None
        if _steps(store.buffer, store.indices, inner.loop_var) != 1 or _steps(load.source, load.indices, loop.loop_var) != 1:
            return None
        early = [one for one in short if _can_begin_earlier(one, size, loops, (load.source, load.indices), (store.buffer, store.indices))]
        row, column = (one.extent - size if one in early else tirx.const(0, str(one.loop_var.ty.dtype)) for one in (loop, inner))
        whole = [tirx.EQ(one.extent, tirx.const(size, str(one.extent.ty.dtype))) for one in short if one not in early]
        return cls(store, load, (row, column), whole, exists)


def _can_begin_earlier(loop: tirx.For, size: int, loops: Sequence[tirx.For], *accesses: tuple[tirx.Buffer, Sequence[ir.Expr]]) -> bool:
    """Whether one thread copies all tiles along an axis, they follow each other in memory, and only the last can be cut short."""
    free: list[ir.Var] = []
    tvm_ffi.structural_walk(loop.extent, (ir.Var, free.append))
    around = next((one for one in loops if free and all(one.loop_var.same_as(var) for var in free)), None)
    if around is None or around.kind == tirx.ForKind.PARALLEL or _constant(around.min) != 0 or (_constant(around.extent) or 0) < 2:
        return False
    analyzer, dtype, last = sym.Analyzer(), str(around.loop_var.ty.dtype), int(around.extent) - 1
    extents = [_constant(analyzer.simplify(substitute(loop.extent, {around.loop_var: tirx.const(at, dtype)}))) for at in range(last)]
    steps = [(_steps(*access, around.loop_var), _steps(*access, loop.loop_var)) for access in accesses]
    return extents == [size] * last and all(out is not None and in_ is not None and out == size * in_ for out, in_ in steps)


def _constant(expr: ir.Expr) -> int | None:
    return int(expr) if isinstance(expr, tirx.IntImm) else None


def _uses(expr: ir.Expr, var: ir.Var) -> bool:
    found: list[ir.Var] = []
    tvm_ffi.structural_walk(expr, (ir.Var, found.append))
    return any(one.same_as(var) for one in found)


def _steps(buffer: tirx.Buffer, indices: Sequence[ir.Expr], var: ir.Var) -> int | None:
    """How many numbers of memory an access moves by when a variable moves by one; None where that is not constant."""
    place, size = tirx.const(0, str(var.ty.dtype)), 1
    for index, extent in zip(reversed(indices), reversed(buffer.shape), strict=True):
        place, size = place + index * size, size * int(extent)
    found = sym.detect_linear_equation(sym.Analyzer().simplify(place), [var])
    return _constant(found[0]) if len(found) else None


def _shuffled(loop: tirx.For, tile: _Tile) -> tirx.Stmt:
    """Load the vectors of a tile, shuffle and store them."""
    size, row, lane = int(loop.annotations[TRANSPOSE]), (loop.loop_var, tile.begin[0]), (loop.body.loop_var, tile.begin[1])
    load, store, vector = tile.load, tile.store, f"{tile.load.source.dtype}x{size}"
    bound: list[tirx.Stmt] = []

    def named(value: ir.Expr) -> ir.Expr:
        var = tirx.Var(f"t{len(bound)}", vector)
        bound.append(tirx.Bind(var, value))
        return var

    vectors = [named(tirx.BufferLoad(load.source, _vector_at(load.indices, row, lane, at, size))) for at in range(size)]
    for stage in transposition(size):
        vectors = [named(tirx.Shuffle([vectors[a], vectors[b]], [tirx.const(i, "int32") for i in order])) for a, b, order in stage]
    stores = [tirx.BufferStore(store.buffer, v, _vector_at(store.indices, lane, row, at, size)) for at, v in enumerate(vectors)]
    return tirx.SeqStmt([*bound, *stores])


def _constant_vectors(loop: tirx.For, tile: _Tile) -> tirx.Stmt:
    """Store the constant in the place of a tile that does not exist."""
    size, value = int(loop.annotations[TRANSPOSE]), tirx.Broadcast(tile.store.value.args[2], int(loop.annotations[TRANSPOSE]))
    row, lane = (loop.loop_var, tile.begin[0]), (loop.body.loop_var, tile.begin[1])
    places = [_vector_at(tile.store.indices, lane, row, at, size) for at in range(size)]
    return tirx.SeqStmt([tirx.BufferStore(tile.store.buffer, value, place) for place in places])


def _vector_at(indices: Sequence[ir.Expr], along: tuple[ir.Var, ir.Expr], other: tuple[ir.Var, ir.Expr], at: int,
               size: int) -> list[ir.Expr]:
    """The indices of a vector, which takes all values of one variable and one value of the other, each counted from where it begins.

    A vector may go on behind the end of an axis, as memory does.
    """
    dtype = str(along[0].ty.dtype)
    *lead, first = (substitute(index, {along[0]: along[1], other[0]: other[1] + tirx.const(at, dtype)}) for index in indices)
    return [*lead, tirx.Ramp(first, tirx.const(1, dtype), size)]


def transposition(size: int) -> list[list[tuple[int, int, list[int]]]]:
    """Stages of shuffles that transpose a square of 4, 8 or 16 rows, each shuffle one instruction of SSE, AVX or AVX-512.

    A stage has one shuffle (a, b, order) for each vector of its result: number l of the result is number order[l] of vector a followed by
    vector b. Two stages interleave numbers within 128 bits (UNPCKLPS, UNPCKHPS), which brings the numbers of four rows together. The others
    do the same with blocks of 128 bits (VPERM2F128, VSHUFF32X4).
    """
    blocks = range(size // 4)
    within = [[4 * block + q // 2 + 2 * half + size * (q % 2) for block in blocks for q in range(4)] for half in (0, 1)]
    stages = [_stage(size, 1, within), _stage(size, 0, within)]
    if size == 8:
        stages.append(_stage(size, 2, [_blocks([half, half + 2]) for half in (0, 1)]))
    if size == 16:
        stages.append(_stage(size, 2, [_blocks([2 * half, 2 * half + 1, 2 * half + 4, 2 * half + 5]) for half in (0, 1)]))
        stages.append(_stage(size, 3, [_blocks([half, half + 2, half + 4, half + 6]) for half in (0, 1)]))
        stages[-1] = [stages[-1][i & 3 | (i & 4) << 1 | (i & 8) >> 1] for i in range(size)]  # the last two went crosswise
    return stages


def _stage(size: int, bit: int, orders: Sequence[list[int]]) -> list[tuple[int, int, list[int]]]:
    """Shuffles of pairs of vectors whose numbers differ in one bit; that bit of the result's number chooses one of two orders."""
    return [(i & ~(1 << bit), i | 1 << bit, orders[i >> bit & 1]) for i in range(size)]


def _blocks(numbers: Sequence[int]) -> list[int]:
    """The order that takes whole blocks of four numbers."""
    return [4 * number + q for number in numbers for q in range(4)]


def _as_written(loop: tirx.For) -> tirx.Stmt:
    """Copy a tile number by number: as vectors, or in plain loops where the tile is cut short."""
    conditions: list[tirx.IfThenElse] = []
    tvm_ffi.structural_walk(loop, (tirx.IfThenElse, conditions.append))
    whole = not conditions and all(isinstance(one.extent, tirx.IntImm) for one in (loop, loop.body) if isinstance(one, tirx.For))
    kinds = [tirx.ForKind.UNROLLED, tirx.ForKind.VECTORIZED] if whole else [tirx.ForKind.SERIAL] * 2

    def plain(one: tirx.For) -> tirx.Stmt:
        annotations = {key: value for key, value in one.annotations.items() if key != TRANSPOSE}
        return tirx.For(one.loop_var, one.min, one.extent, kinds[TRANSPOSE not in one.annotations], one.body, None, annotations)

    return tvm_ffi.structural_map(loop, (tirx.For, plain), order="post")
