"""Sums of a few products become the instructions that a CPU has for them: of four bytes, or of two bfloat16 (`pair_products.py`).

    for lane in range(16):
        for k in range(4):                                                ->    acc[0:16] = vpdpbusd(acc[0:16], x[0:4] 16 times, w[0:64])
            acc[lane] += int32(x[k]) * int32(w[4 * lane + k])

A loop over lanes asks for it by the annotation `DOT`. The loops as they are written mean the same: without such instructions they compute
the same numbers (of bfloat16, to the rounding of the sums).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import ir, sym, tirx

from .loop_nests import substitute
from .module_pass import ModulePass
from .pair_products import PairDot

DOT = "tenfold.dot"  # annotation of a loop over the lanes of accumulators, around one over the products that each takes at once
DEPTH = 4            # products of bytes that an accumulator takes at once
MOST_PRODUCTS = (2**31 - 1) // (255 * 128)  # of one sum of bytes, with which it stays within 32 bits whatever the bytes are
LOW_BYTES = 0x00FF00FF
IMPORT = "pragma_import_llvm"  # TVM's attribute: link a source in LLVM's language into the module


@dataclass(frozen=True)
class Dot:
    """Instructions that add sums of four products of unsigned and signed bytes to accumulators of 32 bits. No sum in between saturates.

    Attributes
    ----------
    instruction : str
        ``vpdpbusd``, or ``vpmaddwd`` on bytes that are widened to 16 bits.
    bits : int
        Of a vector.
    """

    instruction: str
    bits: int
    depth = DEPTH

    @property
    def lanes(self) -> int:
        """Accumulators in a vector."""
        return self.bits // 32

    @property
    def spare(self) -> int:
        """Registers that a step takes beside accumulators, weights and one broadcast."""
        return 0 if self.instruction == "vpdpbusd" else 3

    @property
    def per_step(self) -> int:
        """Multiply-adds, and additions of their results, of a vector and four channels."""
        return 1 if self.instruction == "vpdpbusd" else 4

    def __call__(self, acc: ir.Expr, x: ir.Expr, w: ir.Expr) -> ir.Expr:
        """Return the new accumulators.

        Parameters
        ----------
        acc : Expr
            A vector of `lanes` int32.
        x : Expr
            Four unsigned bytes.
        w : Expr
            Four signed bytes for each lane.
        """
        lanes = self.lanes
        four = tirx.Broadcast(tirx.reinterpret("int32", x), lanes)
        if self.instruction == "vpdpbusd":
            # The name is that of AVX-512; with 256 bits LLVM takes the instruction of AVX-VNNI where there is no AVX-512.
            return tirx.call_llvm_pure_intrin(
                f"int32x{lanes}", f"llvm.x86.avx512.vpdpbusd.{self.bits}", acc, tirx.reinterpret(f"uint8x{4 * lanes}", four), w)
        short = f"int16x{2 * lanes}"
        name = "llvm.x86.avx2.pmadd.wd" if self.bits == 256 else "llvm.x86.avx512.pmaddw.d.512"
        eight, weights = tirx.Broadcast(tirx.const(8, "int16"), 2 * lanes), tirx.reinterpret(short, w)
        low = tirx.reinterpret(short, four & tirx.Broadcast(tirx.const(LOW_BYTES, "int32"), lanes))
        high = tirx.reinterpret(short, tirx.reinterpret(f"u{short}", four) >> tirx.Broadcast(tirx.const(8, "uint16"), 2 * lanes))
        for values, factors in ((low, (weights << eight) >> eight), (high, weights >> eight)):
            acc = acc + tirx.call_llvm_pure_intrin(f"int32x{lanes}", name, values, factors)
        return acc


@tvm.transform.module_pass(opt_level=0, name="DotProducts")
class DotProducts(ModulePass):
    """Rewrite the annotated loops of all kernels of a module without blocks.

    Parameters
    ----------
    *dots : Dot, PairDot or None
        The instructions of the target; None where it has none of a kind.
    """

    def __init__(self, *dots: Dot | PairDot | None):
        self.dots = [dot for dot in dots if dot is not None]

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: dot_products(f, self.dots) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def dot_products(func: tirx.PrimFunc, dots: Sequence[Dot | PairDot]) -> tirx.PrimFunc:
    """Rewrite the annotated loops of a function; those of another form, such as the one that sets accumulators to zero, become vectors."""
    sources: dict[str, None] = {}  # in LLVM's language, of what the function calls

    def rewrite(loop: tirx.For) -> tirx.Stmt:
        if DOT not in loop.annotations:
            return loop
        dot = _instructions(loop, dots)
        store = None if dot is None else _dot_of(loop, dot)
        if store is not None and isinstance(dot, PairDot):
            sources[dot.source] = None
        annotations = {key: value for key, value in loop.annotations.items() if key != DOT}
        kind = loop.kind if isinstance(loop.body, tirx.For) else tirx.ForKind.VECTORIZED
        return store or tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body, None, annotations)

    body = tvm_ffi.structural_map(func.body, (tirx.For, rewrite), order="post")
    for source in sources:
        body = tirx.AttrStmt(0, IMPORT, tvm.runtime.convert(source), body)
    return func.with_body(body)


def _instructions(loop: tirx.For, dots: Sequence[Dot | PairDot]) -> Dot | PairDot | None:
    """Those for the products of a loop over lanes; None where the target has none."""
    inner = loop.body
    if not isinstance(inner, tirx.For):
        return None
    return next((dot for dot in dots if (int(loop.extent), int(inner.extent)) == (dot.lanes, dot.depth)), None)


def _dot_of(loop: tirx.For, dot: Dot | PairDot) -> tirx.Stmt | None:
    """What one loop over lanes becomes; None where it is of another form."""
    inner, depth = loop.body, dot.depth
    store = inner.body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, tirx.Add) or not isinstance(store.value.b, tirx.Mul):
        return None
    old, (x, w) = store.value.a, (_load(factor) for factor in (store.value.b.a, store.value.b.b))
    lane, k = loop.loop_var, inner.loop_var
    analyzer = sym.Analyzer()

    def begin(indices: tuple[ir.Expr, ...], steps: tuple[int, int]) -> list[ir.Expr]:
        """The first element of an access, which moves by so many elements of the last axis with the lane and with the product."""
        *outer, last = indices
        found = sym.detect_linear_equation(analyzer.simplify(last), [lane, k])
        assert [int(each) for each in list(found)[:2]] == list(steps), f"an access of a dot product moves by {list(found)[:2]}, not {steps}"
        zero = {var: tirx.const(0, str(var.ty.dtype)) for var in (lane, k)}
        return [substitute(index, zero) for index in outer] + [found[2]]

    def vector(indices: list[ir.Expr], length: int) -> list[ir.Expr]:
        *outer, first = indices
        return [*outer, tirx.Ramp(first, tirx.const(1, str(first.ty.dtype)), length)]

    at = vector(begin(tuple(store.indices), (1, 0)), dot.lanes)
    values = tirx.BufferLoad(x.source, vector(begin(tuple(x.indices), (0, 1)), depth))
    weights = tirx.BufferLoad(w.source, vector(begin(tuple(w.indices), (depth, 1)), depth * dot.lanes))
    return tirx.BufferStore(store.buffer, dot(tirx.BufferLoad(old.source, at), values, weights), at)


def _load(factor: ir.Expr) -> ir.TensorLoad:
    """What a factor of a product is read from."""
    found: list[ir.TensorLoad] = []
    tvm_ffi.structural_walk(factor, (ir.TensorLoad, found.append))
    return found[0]
