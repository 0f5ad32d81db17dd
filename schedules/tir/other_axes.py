"""A nest that stores the elements of a tensor runs over other axes than the tensor's.

    for i:    out[i] = g(source[..], i)        ->        for a, b:    if i(a, b) exists:    out[i(a, b)] = g(source[a, b], i(a, b))

Splitting and fusing loops would write the places in `source` as quotients and remainders of loop variables, with predicates, from which TVM
can't always tell what of it a task reads.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm_ffi
from tvm import ir, s_tir, sym, tirx

from .loop_nests import block_of_nest, point, substitute


def axis(name: str, extent: int, dtype: str) -> tirx.IterVar:
    """Make an axis from 0 on."""
    return tirx.IterVar(ir.Range(tirx.const(0, dtype), tirx.const(extent, dtype)), tirx.Var(name, dtype), tirx.IterVar.DataPar)


def over_axes(nest: tirx.Stmt, axes: Sequence[tirx.IterVar], places: Mapping[ir.Var, ir.Expr], source: tirx.Buffer,
              at: Mapping[int, ir.Expr], cases: Sequence[Sequence[ir.Expr]]) -> tirx.Stmt:
    """Rewrite a nest of one block that is one store.

    Parameters
    ----------
    nest : Stmt
    axes : sequence of IterVar
        The new axes, outermost first.
    places : dict of Var to PrimExpr
        Of each old axis, where it is by the new ones.
    source : Buffer
        What is read by the new axes.
    at : dict of int to PrimExpr
        By the number of a dimension of the source, what is read of it; the other indices only have their axes replaced.
    cases : sequence of sequence of PrimExpr
        The element exists where all conditions of a case hold. At most one case holds; there is a store for each.
    """
    stored = block_of_nest(nest)
    analyzer = sym.Analyzer()
    for v in axes:
        analyzer.bind(v.var, v.dom)

    def placed(expr: ir.Expr) -> ir.Expr:
        return analyzer.simplify(substitute(expr, places))

    def in_source(indices: Sequence[ir.Expr]) -> list[ir.Expr]:
        return [at[i] if i in at else placed(index) for i, index in enumerate(indices)]

    def load(ld: ir.TensorLoad) -> ir.TensorLoad:
        if ld.source.same_as(source):
            return tirx.BufferLoad(source, in_source(ld.indices))
        return tirx.BufferLoad(ld.source, [placed(e) for e in ld.indices])

    def moved(part: ir.Range) -> ir.Range:
        return ir.Range.from_min_extent(placed(part.min), placed(part.extent))

    def region(r: tirx.BufferRegion) -> tirx.BufferRegion:
        if not r.source.same_as(source):
            return tirx.BufferRegion(r.source, [moved(part) for part in r.region])
        fixed = point(source, in_source([part.min for part in r.region])).region
        return tirx.BufferRegion(source, [fixed[i] if i in at else moved(part) for i, part in enumerate(r.region)])

    store = stored.body
    value = substitute(tvm_ffi.structural_map(store.value, (ir.TensorLoad, load), order="post"), places)
    one = tirx.BufferStore(store.buffer, value, [placed(e) for e in store.indices])
    stores = [tirx.IfThenElse(tirx.all(*conditions), one, None) if conditions else one for conditions in cases]
    body = stores[0] if len(stores) == 1 else tirx.SeqStmt(stores)
    block = s_tir.SBlock(list(axes), [region(r) for r in stored.reads], [region(r) for r in stored.writes], stored.name_hint, body)
    loops = [tirx.Var(v.var.name + "_loop", str(v.var.ty.dtype)) for v in axes]
    result: tirx.Stmt = s_tir.SBlockRealize(loops, tirx.const(True, "bool"), block)
    for loop, v in reversed(list(zip(loops, axes, strict=True))):
        result = tirx.For(loop, v.dom.min, v.dom.extent, tirx.ForKind.SERIAL, result)
    return result
