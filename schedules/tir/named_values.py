"""Names within expressions become small buffers, which LLVM keeps in registers.

    for i (vector): y[i] = let a = f(x[i]) in a * g(a)    ->    for i (vector): a[i] = f(x[i])
                                                                for i (vector): y[i] = a[i] * g(a[i])

TVM's analysis replaces a name by its value wherever it meets it, and then the names in that value: 2^n copies for n names in a row. It does
not do so with what is loaded from memory.
"""
from __future__ import annotations

import tvm_ffi
from tvm import ir, s_tir, tirx

from .analysis import call_name
from .loop_nests import add_region, changed, fresh, loads_in, nests_of, point, region, substitute, with_nests


def store_names(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Store the named values of a scheduled function in buffers of their own, one vector each in a vectorised loop.

    Names in vectorised loops of more than one block stay, and so do those that a branch guards.
    """
    buffers: list[tirx.Buffer] = []

    def vectors(loop: tirx.For) -> tirx.Stmt:
        if loop.kind != tirx.ForKind.VECTORIZED or not isinstance(loop.body, s_tir.SBlockRealize):
            return loop
        steps = _steps(loop.body.block, loop.extent, buffers)
        return loop if len(steps) < 2 else tirx.SeqStmt([_loop(loop, store) for store in steps])

    nests = [tvm_ffi.structural_map(nest, (tirx.For, vectors), order="post") for nest in nests_of(func)]
    return with_nests(func, nests, [*func.body.block.alloc_buffers, *buffers]) if buffers else func


def _steps(block: s_tir.SBlock, lanes: ir.Expr, buffers: list[tirx.Buffer]) -> list[tuple[tirx.BufferStore, ir.Var]]:
    """The stores that a block's store becomes, each with the variable that counts lanes: one for each name, then its own."""
    if not isinstance(block.body, tirx.BufferStore) or block.init is not None:
        return []
    lane = tirx.Var("lane", str(lanes.ty.dtype))
    stores: list[tirx.BufferStore] = []

    def without_names(expr: ir.Expr) -> ir.Expr:
        while (let := _outermost(expr)) is not None:
            value = without_names(let.value)
            buffer = tirx.decl_buffer([lanes], str(value.ty.dtype), name=let.var.name)
            buffers.append(buffer)
            stores.append(tirx.BufferStore(buffer, value, [lane]))
            body = substitute(let.body, {let.var: tirx.BufferLoad(buffer, [lane])})
            expr = tvm_ffi.structural_map(expr, (tirx.Let, lambda one, let=let, body=body: body if one.same_as(let) else one), order="post")
        return expr

    value = without_names(block.body.value)
    return [(store, lane) for store in (*stores, tirx.BufferStore(block.body.buffer, value, block.body.indices))]


def _loop(loop: tirx.For, step: tuple[tirx.BufferStore, ir.Var]) -> tirx.For:
    """Put the vectorised loop around one of the steps."""
    (store, lane), realize = step, loop.body
    block, count = realize.block, tirx.Var(loop.loop_var.name, str(loop.loop_var.ty.dtype))
    counted = tirx.IterVar(ir.Range.from_min_extent(loop.min, loop.extent), tirx.Var("v_lane", str(lane.ty.dtype)), tirx.IterVar.DataPar)
    axes = [fresh(v) for v in block.iter_vars]
    names = {**{v.var: new.var for v, new in zip(block.iter_vars, axes, strict=True)}, lane: counted.var}
    store = tirx.BufferStore(store.buffer, substitute(store.value, names), [substitute(i, names) for i in store.indices])
    reads = [region(r.source, [(substitute(one.min, names), substitute(one.extent, names)) for one in r.region]) for r in block.reads]
    known = [r.source for r in reads]
    for load in loads_in(store.value):
        if not any(load.source.same_as(source) for source in known):
            add_region(reads, point(load.source, load.indices))
    inner = changed(block, iter_vars=[*axes, counted], reads=reads, writes=[point(store.buffer, store.indices)], body=store)
    here = {loop.loop_var: count}
    values = [*(substitute(value, here) for value in realize.iter_values), count]
    body = s_tir.SBlockRealize(values, substitute(realize.predicate, here), inner)
    return tirx.For(count, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)


def _outermost(expr: ir.Expr) -> tirx.Let | None:
    """The first name in an expression; those that a branch guards stay in it."""
    found: list[tirx.Let] = []

    def name(let: tirx.Let) -> tvm_ffi.VisitInterrupt:
        found.append(let)
        return tvm_ffi.VisitInterrupt()

    def branch(call: ir.Call) -> tvm_ffi.WalkResult | None:
        return tvm_ffi.WalkResult.SKIP if call_name(call) == "if_then_else" else None

    tvm_ffi.structural_walk(expr, ((tirx.Let, name), (ir.Call, branch)), order="pre")
    return found[0] if found else None
