"""Rewrite a function's loop nests before it is scheduled: drop, separate, simplify. All operate on nests of one block below the root."""
from __future__ import annotations

from collections.abc import Sequence

import tvm_ffi
from tvm import ir, s_tir, sym, tirx

from .analysis import call_name, outputs


def nests_of(func: tirx.PrimFunc) -> list[tirx.Stmt]:
    """The statements below the root block."""
    body = func.body.block.body
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def with_nests(func: tirx.PrimFunc, nests: Sequence[tirx.Stmt], buffers: Sequence[tirx.Buffer]) -> tirx.PrimFunc:
    """The function with other statements, and other buffers allocated, below the root block."""
    body = nests[0] if len(nests) == 1 else tirx.SeqStmt(list(nests))
    block = changed(func.body.block, body=body, alloc_buffers=list(buffers))
    return func.with_body(s_tir.SBlockRealize(func.body.iter_values, func.body.predicate, block))


def changed(block: s_tir.SBlock, **changes) -> s_tir.SBlock:
    """The block with other fields."""
    names = "iter_vars", "reads", "writes", "name_hint", "body", "init", "alloc_buffers", "match_buffers", "annotations"
    return s_tir.SBlock(*(changes.get(name, getattr(block, name)) for name in names))


def block_in(nest: tirx.Stmt) -> s_tir.SBlock | None:
    """The block within nested loops, if that is what the nest is."""
    while isinstance(nest, tirx.For):
        nest = nest.body
    return nest.block if isinstance(nest, s_tir.SBlockRealize) else None


def has_nests(func: tirx.PrimFunc) -> bool:
    """Whether the function is a root block around loop nests of one block each."""
    return isinstance(func.body, s_tir.SBlockRealize) and all(block_in(n) is not None for n in nests_of(func))


def drop_dead_blocks(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function without blocks whose results nobody reads, as operators with several results leave them.

    A{x -> a (read by B)}; D{x -> d (read by none)}; B{a -> out}    ->    A; B
    """
    while True:
        nests, results = nests_of(func), outputs(func)
        blocks = [block_in(n) for n in nests]
        live = [i for i, b in enumerate(blocks) if any(_is_used(w.source, b, blocks, results) for w in b.writes) or not b.writes]
        if len(live) == len(nests) or not live:
            return func
        dead = [w.source for i, b in enumerate(blocks) if i not in live for w in b.writes]
        func = with_nests(func, [nests[i] for i in live], [b for b in func.body.block.alloc_buffers if not any(b.same_as(d) for d in dead)])


def _is_used(buffer, writer, blocks, results) -> bool:
    return any(buffer.same_as(r) for r in results) or any(buffer.same_as(r.source) for b in blocks if b is not writer for r in b.reads)


def separate_results(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Reductions with several results that don't depend on each other (sum, and sum of squares) become one block for each result."""
    nests = nests_of(func)
    separated = [new for nest in nests for new in _one_for_each_result(nest)]
    return func if len(separated) == len(nests) else with_nests(func, separated, func.body.block.alloc_buffers)


def _one_for_each_result(nest) -> list:
    block = block_in(nest)
    if not isinstance(block.body, tirx.SeqStmt) or not isinstance(block.init, tirx.SeqStmt):
        return [nest]
    stores = [st for st in block.body.seq if isinstance(st, tirx.BufferStore)]
    values = {st.var: st.value for st in block.body.seq if isinstance(st, tirx.Bind)}
    inits = list(block.init.seq)
    if len(values) + len(stores) != len(block.body.seq) or len(inits) != len(stores):
        return [nest]
    results = []
    for store, init in zip(stores, inits, strict=True):
        value = substitute(store.value, values)
        others = [other.buffer for other in stores if not other.same_as(store)]
        if any(load.source.same_as(o) for load in loads_in(value) for o in others) or not init.buffer.same_as(store.buffer):
            return [nest]
        axes = [fresh(v) for v in block.iter_vars]
        renamed = {v.var: n.var for v, n in zip(block.iter_vars, axes, strict=True)}
        own = [substitute(i, renamed) for i in store.indices]
        update = tirx.BufferStore(store.buffer, substitute(value, renamed), own)
        results.append(nest_around(f"{block.name_hint}_{len(results)}", axes, update, tirx.BufferStore(store.buffer, init.value, own)))
    return results


def simplify_indices(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with the indices and branches of its blocks simplified within the ranges of the axes.

    x[(v + w // 5) % 20], v < 20, w < 5    ->    x[v]
    """
    def simplified(realize):
        block = realize.block
        if not block.iter_vars:
            return realize
        analyzer = sym.Analyzer()
        for v in block.iter_vars:
            analyzer.bind(v.var, v.dom)

        def load(ld):
            return tirx.BufferLoad(ld.source, [analyzer.simplify(i) for i in ld.indices])

        def branch(call):
            if call_name(call) == "if_then_else":
                return tirx.if_then_else(analyzer.simplify(call.args[0]), call.args[1], call.args[2])
            return call

        body = tvm_ffi.structural_map(block.body, [(ir.TensorLoad, load), (ir.Call, branch)], order="post")
        reads = [_simplified_region(r, analyzer) for r in block.reads]
        return s_tir.SBlockRealize(realize.iter_values, realize.predicate, changed(block, reads=reads, body=body))

    nests = [tvm_ffi.structural_map(n, (s_tir.SBlockRealize, simplified), order="post") for n in nests_of(func)]
    return with_nests(func, nests, func.body.block.alloc_buffers)


def _simplified_region(region, analyzer):
    ranges = [ir.Range.from_min_extent(analyzer.simplify(r.min), analyzer.simplify(r.extent)) for r in region.region]
    return tirx.BufferRegion(region.source, ranges)


def nest_around(name: str, axes: Sequence[tirx.IterVar], store: tirx.BufferStore, init: tirx.BufferStore,
                whole: tuple[tirx.Buffer, ir.Var] | None = None) -> tirx.For:
    """The loops around one reduction block, a loop for each axis.

    `whole`, a buffer and an axis: what the block reads of the buffer does not depend on the axis, but is all there is along it.
    """
    reads = []
    for load in loads_in(store.value):
        if not load.source.same_as(store.buffer):
            region = [_one(i) for i in load.indices]
            if whole is not None and load.source.same_as(whole[0]):
                position = next(p for p, i in enumerate(load.indices) if i.same_as(whole[1]))
                region[position] = ir.Range(tirx.const(0, str(whole[1].ty.dtype)), whole[0].shape[position])
            add_region(reads, tirx.BufferRegion(load.source, region))
    loops = [tirx.Var(v.var.name + "_loop", str(v.var.ty.dtype)) for v in axes]
    block = s_tir.SBlock(list(axes), reads, [point(store.buffer, store.indices)], name, store, init)
    body = s_tir.SBlockRealize(loops, tirx.const(True, "bool"), block)
    for loop, v in reversed(list(zip(loops, axes, strict=True))):
        body = tirx.For(loop, v.dom.min, v.dom.extent, tirx.ForKind.SERIAL, body)
    return body


def _one(index: ir.Expr) -> ir.Range:
    return ir.Range.from_min_extent(index, tirx.const(1, str(index.ty.dtype)))


def region(buffer: tirx.Buffer, ranges: Sequence[tuple[ir.Expr, ir.Expr]]) -> tirx.BufferRegion:
    """A part of a buffer: where it begins along each axis, and how long it is."""
    return tirx.BufferRegion(buffer, [ir.Range.from_min_extent(begin, length) for begin, length in ranges])


def point(buffer: tirx.Buffer, indices: Sequence[ir.Expr]) -> tirx.BufferRegion:
    """One element of a buffer as a part of it."""
    return tirx.BufferRegion(buffer, [_one(i) for i in indices])


def add_region(regions: list[tirx.BufferRegion], new: tirx.BufferRegion) -> None:
    """Add a part of a buffer to those that a block reads, of which schedules want one for each buffer: all of an axis where two differ."""
    at = next((i for i, old in enumerate(regions) if old.source.same_as(new.source)), None)
    if at is None:
        regions.append(new)
        return
    both = zip(regions[at].region, new.region, new.source.shape, strict=True)
    ranges = [a if tvm_ffi.structural_equal(a, b) else ir.Range(tirx.const(0, str(a.min.ty.dtype)), size) for a, b, size in both]
    regions[at] = tirx.BufferRegion(new.source, ranges)


def loads_in(expr) -> list[ir.TensorLoad]:
    """Every load within an expression."""
    found = []
    tvm_ffi.structural_walk(expr, (ir.TensorLoad, found.append))
    return found


def fresh(v: tirx.IterVar) -> tirx.IterVar:
    """An axis of the same name, length and kind."""
    return tirx.IterVar(v.dom, tirx.Var(v.var.name, str(v.var.ty.dtype)), v.iter_type)


def substitute(expr, values: dict):
    """The expression with variables replaced."""
    def replace(var):
        return next((new for old, new in values.items() if old.same_as(var)), var)

    return tvm_ffi.structural_map(expr, (ir.Var, replace), order="post")


def with_fresh_names(expr: ir.Expr) -> ir.Expr:
    """A copy of the expression that can stand in the same function."""
    def renamed(let):
        var = tirx.Var(let.var.name, str(let.value.ty.dtype))
        return tirx.Let(var, let.value, substitute(let.body, {let.var: var}))

    return tvm_ffi.structural_map(expr, (tirx.Let, renamed), order="post")
