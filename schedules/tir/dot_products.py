"""Sums of a few products become the instructions that a CPU has for them: of four bytes, or of two bfloat16 (`pair_products.py`).

    for lane in range(16):
        for k in range(4):                                                ->    acc[0:16] = vpdpbusd(acc[0:16], x[0:4] 16 times, w[0:64])
            acc[lane] += int32(x[k]) * int32(w[4 * lane + k])

A loop over lanes asks for it by the annotation `DOT`. A loop around it, over fours of values that are loaded at once, has `FOURS`:

    for four in range(4):                                                 ->    acc[0:4] = sdot(acc[0:4], x[0:16].lane(0), w[0:16])
        for lane in range(4):                                                   acc[0:4] = sdot(acc[0:4], x[0:16].lane(1), w[16:32])
            for k in range(4):                                                  ...
                acc[lane] += int32(x[4 * four + k]) * int32(w[16 * four + 4 * lane + k])

The loops as they are written mean the same: without such instructions they compute the same numbers (of bfloat16, to the rounding of the
sums).
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, sym, tirx

from .loop_nests import substitute
from .module_pass import ModulePass

DOT = "tenfold.dot"      # annotation of a loop over the lanes of accumulators, around one over the products of a step: `adds_halves`
FOURS = "tenfold.fours"  # of a loop around these, over neighbouring steps of values
DEPTH = 4                # products of bytes that an accumulator takes at once
MOST_PRODUCTS = (2**31 - 1) // (255 * 128)  # of one sum of bytes, with which it stays within 32 bits whatever the bytes are
IMPORT = "pragma_import_llvm"  # TVM's attribute: link a source in LLVM's language into the module


class Dot(ABC):
    """Instructions that add sums of a few products to accumulators of 32 bits. Of bytes the factors are signed, and no sum saturates.

    Attributes
    ----------
    depth : int
        Products of a step, which an accumulator takes at once. So many values take 32 bits.
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

    depth: int = DEPTH
    signed: bool
    spare: int
    per_step: float
    fours: int = 1
    adds_halves: bool = False

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Accumulators in a vector."""

    @property
    def source(self) -> str | None:
        """What calls the instructions, in LLVM's language, where TVM can't."""
        return None

    def place(self, lane: Any, k: Any) -> Any:
        """Where in a row of weights that of an accumulator and one of its products lies. Each vector has a part of the row for itself."""
        return lane * self.depth + k

    def adding(self, halves: bool) -> Dot:
        """The instructions with `adds_halves`, where that makes a difference."""
        return self

    @abstractmethod
    def __call__(self, acc: ir.Expr, values: ir.Expr, four: int, w: ir.Expr) -> ir.Expr:
        """Return the new accumulators.

        Parameters
        ----------
        acc : Expr
            A vector of `lanes` sums.
        values : Expr
            Values that were loaded at once.
        four : int
            Which step of them: `depth` values.
        w : Expr
            The `depth` factors of each lane, in their places.
        """


@tvm.transform.module_pass(opt_level=0, name="DotProducts")
class DotProducts(ModulePass):
    """Rewrite the annotated loops of all kernels of a module without blocks.

    Parameters
    ----------
    *dots : Dot or None
        The instructions of the target; None where it has none of a kind.
    """

    def __init__(self, *dots: Dot | None):
        self.dots = [dot for dot in dots if dot is not None]

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: dot_products(f, self.dots) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def dot_products(func: tirx.PrimFunc, dots: Sequence[Dot]) -> tirx.PrimFunc:
    """Rewrite the annotated loops of a function; those of another form, such as the one that sets accumulators to zero, become vectors."""
    used: dict[str, None] = {}
    body = _rewritten(func.body, dots, used, 0, 1)
    for source in used:
        body = tirx.AttrStmt(0, IMPORT, tvm.runtime.convert(source), body)
    return func.with_body(body)


def _rewritten(body: tirx.Stmt, dots: Sequence[Dot], used: dict[str, None], four: int, fours: int) -> tirx.Stmt:
    """A statement with its annotated loops rewritten; it works on one step of those that are loaded at once. `used` collects sources."""
    def rewrite(loop: tirx.For) -> tirx.Stmt:
        if FOURS in loop.annotations:
            count, var = int(loop.extent), loop.loop_var
            parts = (substitute(loop.body, {var: tirx.const(i, str(var.ty.dtype))}) for i in range(count))
            return tirx.SeqStmt([_rewritten(part, dots, used, i, count) for i, part in enumerate(parts)])
        if DOT in loop.annotations:
            annotations = {key: value for key, value in loop.annotations.items() if key != DOT}
            kind = loop.kind if isinstance(loop.body, tirx.For) else tirx.ForKind.VECTORIZED
            dot = _instructions(loop, dots)
            store = None if dot is None else _dot_of(loop, dot, four, fours)
            if store is not None and dot is not None and dot.source is not None:
                used[dot.source] = None
            return store or tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body, None, annotations)
        return loop

    return tvm_ffi.structural_map(body, (tirx.For, rewrite), order="pre")


def _instructions(loop: tirx.For, dots: Sequence[Dot]) -> Dot | None:
    """Those for the products of a loop over lanes; None where the target has none."""
    inner = loop.body
    if not isinstance(inner, tirx.For):
        return None
    return next((dot for dot in dots if (int(loop.extent), int(inner.extent)) == (dot.lanes, dot.depth)), None)


def _dot_of(loop: tirx.For, dot: Dot, four: int, fours: int) -> tirx.Stmt | None:
    """What one loop over lanes becomes; None where it is of another form."""
    inner, depth = loop.body, dot.depth
    store = inner.body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, tirx.Add) or not isinstance(store.value.b, tirx.Mul):
        return None
    old, (x, w) = store.value.a, (_load(factor) for factor in (store.value.b.a, store.value.b.b))
    lane, k = loop.loop_var, inner.loop_var
    analyzer = sym.Analyzer()
    first, last = ({lane: tirx.const(i, str(lane.ty.dtype)), k: tirx.const(j, str(k.ty.dtype))}
                   for i, j in ((0, 0), (dot.lanes - 1, depth - 1)))

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

    assert int(analyzer.simplify(at_ends(w.indices[-1]))) == depth * dot.lanes - 1, "weights of a vector lie apart"
    at = vector(begin(tuple(store.indices), (1, 0)), dot.lanes)
    values = tirx.BufferLoad(x.source, vector(begin(tuple(x.indices), (0, 1)), depth * fours, depth * four))
    weights = tirx.BufferLoad(w.source, vector([substitute(index, first) for index in w.indices], depth * dot.lanes))
    instructions = dot.adding(bool(int(loop.annotations[DOT])))
    return tirx.BufferStore(store.buffer, instructions(tirx.BufferLoad(old.source, at), values, four, weights), at)


def _load(factor: ir.Expr) -> ir.TensorLoad:
    """What a factor of a product is read from."""
    found: list[ir.TensorLoad] = []
    tvm_ffi.structural_walk(factor, (ir.TensorLoad, found.append))
    return found[0]


def in_each_lane(values: ir.Expr, index: int, dtype: str, lanes: int) -> ir.Expr:
    """A part of a vector in each lane of a vector.

    Parameters
    ----------
    values : Expr
        Of fewer bits than the part.
    index : int
        Which part, of the size of `dtype`.
    dtype : str
        Of a lane.
    lanes : int
        Of the vector that is returned.
    """
    count = values.ty.dtype.lanes * values.ty.dtype.bits // int(dtype.removeprefix("int"))
    parts = tirx.reinterpret(dtype if count == 1 else f"{dtype}x{count}", values)
    return tirx.Broadcast(parts if count == 1 else tirx.Shuffle([parts], [index]), lanes)
