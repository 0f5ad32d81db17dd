"""Sums of four products of bytes become the instructions that a CPU has for them.

    for lane in range(16):
        for k in range(4):                                                ->    acc[0:16] = vpdpbusd(acc[0:16], x[0:4] 16 times, w[0:64])
            acc[lane] += int32(x[k]) * int32(w[4 * lane + k])

A loop over lanes asks for it by the annotation `DOT`. A loop around it, over fours of values that are loaded at once, has `FOURS`:

    for four in range(4):                                                 ->    acc[0:4] = sdot(acc[0:4], x[0:16].lane(0), w[0:16])
        for lane in range(4):                                                   acc[0:4] = sdot(acc[0:4], x[0:16].lane(1), w[16:32])
            for k in range(4):                                                  ...
                acc[lane] += int32(x[4 * four + k]) * int32(w[16 * four + 4 * lane + k])

The loops as they are written mean the same: without such instructions they compute the same numbers.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, sym, tirx

from .loop_nests import substitute
from .module_pass import ModulePass

DOT = "tenfold.dot"      # annotation of a loop over the lanes of accumulators, around one over `DEPTH` products: `adds_halves`
FOURS = "tenfold.fours"  # of a loop around these, over neighbouring fours of values
DEPTH = 4                # products that an accumulator takes at once


class Dot(ABC):
    """Instructions that add sums of four products of bytes to accumulators of 32 bits. The factors are signed. No sum in between saturates.

    Attributes
    ----------
    signed : bool
        Whether the values that are multiplied are signed bytes; otherwise unsigned ones.
    spare : int
        Registers that a step takes beside accumulators, weights and one broadcast.
    per_step : float
        Multiply-adds of float32 that take as long as a vector of sums.
    fours : int
        How many fours of values are best loaded at once, each of which every lane of an instruction can take as it is.
    adds_halves : bool
        Products of signed bytes are added by two before they are widened to 32 bits. No weight is -128 then.
    """

    signed: bool
    spare: int
    per_step: float
    fours: int = 1
    adds_halves: bool = False

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Accumulators in a vector."""

    def place(self, lane: Any, k: Any) -> Any:
        """Where in a row of weights that of an accumulator and one of its products lies. Each vector has a part of the row for itself."""
        return lane * DEPTH + k

    def adding(self, halves: bool) -> Dot:
        """The instructions with `adds_halves`, where that makes a difference."""
        return self

    @abstractmethod
    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        """Return the new accumulators.

        Parameters
        ----------
        acc : Expr
            A vector of `lanes` int32.
        values : Expr
            Bytes that were loaded at once.
        four : int
            Which four of them.
        w : Expr
            Four signed bytes for each lane, in their places.
        """


@tvm.transform.module_pass(opt_level=0, name="DotProducts")
class DotProducts(ModulePass):
    """Rewrite the annotated loops of all kernels of a module without blocks.

    Parameters
    ----------
    dot : Dot or None
        The instructions of the target; None where it has none.
    """

    def __init__(self, dot: Dot | None):
        self.dot = dot

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: dot_products(f, self.dot) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def dot_products(func: tirx.PrimFunc, dot: Dot | None) -> tirx.PrimFunc:
    """Rewrite the annotated loops of a function; those of another form, such as the one that sets accumulators to zero, become vectors."""
    return func.with_body(_rewritten(func.body, dot, 0, 1))


def _rewritten(body: tirx.Stmt, dot: Dot | None, four: int, fours: int) -> tirx.Stmt:
    """A statement with its annotated loops rewritten; it works on one four of those that are loaded at once."""
    def rewrite(loop: tirx.For) -> tirx.Stmt:
        if FOURS in loop.annotations:
            count, var = int(loop.extent), loop.loop_var
            parts = (substitute(loop.body, {var: tirx.const(i, str(var.ty.dtype))}) for i in range(count))
            return tirx.SeqStmt([_rewritten(part, dot, i, count) for i, part in enumerate(parts)])
        if DOT in loop.annotations:
            annotations = {key: value for key, value in loop.annotations.items() if key != DOT}
            kind = loop.kind if isinstance(loop.body, tirx.For) else tirx.ForKind.VECTORIZED
            store = _dot_of(loop, dot, four, fours)
            return store or tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body, None, annotations)
        return loop

    return tvm_ffi.structural_map(body, (tirx.For, rewrite), order="pre")


def _dot_of(loop: tirx.For, dot: Dot | None, four: int, fours: int) -> tirx.Stmt | None:
    """What one loop over lanes becomes; None where it is of another form."""
    inner = loop.body
    if dot is None or int(loop.extent) != dot.lanes or not isinstance(inner, tirx.For) or int(inner.extent) != DEPTH:
        return None
    store = inner.body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, tirx.Add) or not isinstance(store.value.b, tirx.Mul):
        return None
    old, (x, w) = store.value.a, (cast.value for cast in (store.value.b.a, store.value.b.b))
    lane, k = loop.loop_var, inner.loop_var
    analyzer = sym.Analyzer()
    first, last = ({lane: tirx.const(i, str(lane.ty.dtype)), k: tirx.const(j, str(k.ty.dtype))}
                   for i, j in ((0, 0), (dot.lanes - 1, DEPTH - 1)))

    def at_ends(index: ir.Expr) -> ir.Expr:
        """How far an index moves from the first lane and product to the last."""
        return substitute(index, last) - substitute(index, first)

    def begin(indices: tuple[ir.Expr, ...], steps: tuple[int, int]) -> list[ir.Expr]:
        """The first element of an access, which moves by so many elements of the last axis with the lane and with the product."""
        *outer, inner = indices
        found = sym.detect_linear_equation(analyzer.simplify(inner), [lane, k])
        assert [int(each) for each in list(found)[:2]] == list(steps), f"an access of a dot product moves by {list(found)[:2]}, not {steps}"
        return [substitute(index, first) for index in outer] + [found[2]]

    def vector(indices: list[ir.Expr], length: int, before: int = 0) -> list[ir.Expr]:
        *outer, begins = indices
        return [*outer, tirx.Ramp(analyzer.simplify(begins - before), tirx.const(1, str(begins.ty.dtype)), length)]

    assert int(analyzer.simplify(at_ends(w.indices[-1]))) == DEPTH * dot.lanes - 1, "weights of a vector lie apart"
    at = vector(begin(tuple(store.indices), (1, 0)), dot.lanes)
    values = tirx.BufferLoad(x.source, vector(begin(tuple(x.indices), (0, 1)), DEPTH * fours, DEPTH * four))
    weights = tirx.BufferLoad(w.source, vector([substitute(index, first) for index in w.indices], DEPTH * dot.lanes))
    instructions = dot.adding(bool(int(loop.annotations[DOT])))
    return tirx.BufferStore(store.buffer, instructions(tirx.BufferLoad(old.source, at), values, four, weights), at)


def in_each_lane(values: ir.Expr, index: int, dtype: str, lanes: int) -> ir.Expr:
    """A part of a vector of bytes in each lane of a vector.

    Parameters
    ----------
    values : Expr
        Bytes.
    index : int
        Which part, of the size of `dtype`.
    dtype : str
        Of a lane.
    lanes : int
        Of the vector that is returned.
    """
    count = values.ty.dtype.lanes * 8 // int(dtype.removeprefix("int"))
    parts = tirx.reinterpret(dtype if count == 1 else f"{dtype}x{count}", values)
    return tirx.Broadcast(parts if count == 1 else tirx.Shuffle([parts], [index]), lanes)
