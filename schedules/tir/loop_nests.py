"""Rewrites of a function's loop nests before it is scheduled: drop, separate, simplify.

All work on a root block around loop nests of one block each (`has_nests`).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm_ffi
from tvm import ir, s_tir, sym, tirx

from .analysis import call_name, outputs


def nests_of(func: tirx.PrimFunc) -> list[tirx.Stmt]:
    """The statements below the root block."""
    body = func.body.block.body
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def with_nests(func: tirx.PrimFunc, nests: Sequence[tirx.Stmt], buffers: Sequence[tirx.Buffer]) -> tirx.PrimFunc:
    """Replace what is below the root block of a function.

    Parameters
    ----------
    func : tirx.PrimFunc
        The function.
    nests : sequence of Stmt
        The statements below the root, in order.
    buffers : sequence of Buffer
        What the root allocates.
    """
    body = nests[0] if len(nests) == 1 else tirx.SeqStmt(list(nests))
    block = changed(func.body.block, body=body, alloc_buffers=list(buffers))
    return func.with_body(s_tir.SBlockRealize(func.body.iter_values, func.body.predicate, block))


def changed(block: s_tir.SBlock, **changes: object) -> s_tir.SBlock:
    """A block with other values of the fields that are named."""
    names = "iter_vars", "reads", "writes", "name_hint", "body", "init", "alloc_buffers", "match_buffers", "annotations"
    return s_tir.SBlock(*(changes.get(name, getattr(block, name)) for name in names))


def block_in(nest: tirx.Stmt) -> s_tir.SBlock | None:
    """The block within nested loops; None if there is anything else in them."""
    while isinstance(nest, tirx.For):
        nest = nest.body
    return nest.block if isinstance(nest, s_tir.SBlockRealize) else None


def block_of_nest(nest: tirx.Stmt) -> s_tir.SBlock:
    """The block of a loop nest of one block.

    Raises
    ------
    ValueError
        The nest is none.
    """
    block = block_in(nest)
    if block is None:
        raise ValueError("a statement below the root is not loops around one block")
    return block


def has_nests(func: tirx.PrimFunc) -> bool:
    """Whether the function is a root block around loop nests of one block each."""
    return isinstance(func.body, s_tir.SBlockRealize) and all(block_in(n) is not None for n in nests_of(func))


def drop_dead_blocks(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Drop blocks whose results nobody reads; operators with several results leave such blocks.

    A{x -> a (read by B)}; D{x -> d (read by none)}; B{a -> out}    ->    A; B
    """
    while True:
        nests, results = nests_of(func), outputs(func)
        blocks = [block_of_nest(n) for n in nests]
        live = [i for i, b in enumerate(blocks) if any(_is_used(w.source, b, blocks, results) for w in b.writes) or not b.writes]
        if len(live) == len(nests) or not live:
            return func
        dead = [w.source for i, b in enumerate(blocks) if i not in live for w in b.writes]
        func = with_nests(func, [nests[i] for i in live], [b for b in func.body.block.alloc_buffers if not any(b.same_as(d) for d in dead)])


def _is_used(buffer: tirx.Buffer, writer: s_tir.SBlock, blocks: Sequence[s_tir.SBlock], results: Sequence[tirx.Buffer]) -> bool:
    """Whether a buffer is a result, or is read by another block than its writer."""
    return any(buffer.same_as(r) for r in results) or any(buffer.same_as(r.source) for b in blocks if b is not writer for r in b.reads)


def separate_results(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Cut reductions with several independent results (sum, and sum of squares) into one block for each result."""
    nests = nests_of(func)
    separated = [new for nest in nests for new in _one_for_each_result(nest)]
    return func if len(separated) == len(nests) else with_nests(func, separated, func.body.block.alloc_buffers)


def _one_for_each_result(nest: tirx.Stmt) -> list[tirx.Stmt]:
    block = block_of_nest(nest)
    if not isinstance(block.body, tirx.SeqStmt) or not isinstance(block.init, tirx.SeqStmt):
        return [nest]
    stores = [st for st in block.body.seq if isinstance(st, tirx.BufferStore)]
    values = {st.var: st.value for st in block.body.seq if isinstance(st, tirx.Bind)}
    inits = list(block.init.seq)
    if len(values) + len(stores) != len(block.body.seq) or len(inits) != len(stores):
        return [nest]
    results: list[tirx.Stmt] = []
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
    """Simplify the indices and branches of a function's blocks within the ranges of the axes.

    x[(v + w // 5) % 20], v < 20, w < 5    ->    x[v]
    """
    def simplified(realize: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
        block = realize.block
        if not block.iter_vars:
            return realize
        analyzer = sym.Analyzer()
        for v in block.iter_vars:
            analyzer.bind(v.var, v.dom)

        def load(ld: ir.TensorLoad) -> ir.TensorLoad:
            return tirx.BufferLoad(ld.source, [analyzer.simplify(i) for i in ld.indices])

        def branch(call: ir.Call) -> ir.Expr:
            if call_name(call) == "if_then_else":
                return tirx.if_then_else(analyzer.simplify(call.args[0]), call.args[1], call.args[2])
            return call

        def store(st: tirx.BufferStore) -> tirx.BufferStore:
            return tirx.BufferStore(st.buffer, st.value, [analyzer.simplify(i) for i in st.indices])

        rules = [(ir.TensorLoad, load), (ir.Call, branch), (tirx.BufferStore, store)]
        body = tvm_ffi.structural_map(block.body, rules, order="post")
        init = None if block.init is None else tvm_ffi.structural_map(block.init, rules, order="post")
        reads, writes = ([_simplified_region(r, analyzer) for r in regions] for regions in (block.reads, block.writes))
        return s_tir.SBlockRealize(realize.iter_values, realize.predicate, changed(block, reads=reads, writes=writes, body=body, init=init))

    nests = [tvm_ffi.structural_map(n, (s_tir.SBlockRealize, simplified), order="post") for n in nests_of(func)]
    return with_nests(func, nests, func.body.block.alloc_buffers)


def _simplified_region(region: tirx.BufferRegion, analyzer: sym.Analyzer) -> tirx.BufferRegion:
    ranges = [ir.Range.from_min_extent(analyzer.simplify(r.min), analyzer.simplify(r.extent)) for r in region.region]
    return tirx.BufferRegion(region.source, ranges)


def nest_around(name: str, axes: Sequence[tirx.IterVar], store: tirx.BufferStore, init: tirx.BufferStore,
                whole: tuple[tirx.Buffer, ir.Var] | None = None) -> tirx.For:
    """Make the loops around one reduction block, a loop for each axis.

    Parameters
    ----------
    name : str
        The block's name.
    axes : sequence of IterVar
        Its axes, outermost first.
    store, init : BufferStore
        The update, and what the result begins with.
    whole : tuple of (Buffer, Var), optional
        A buffer and an axis: the block is said to read all of the buffer along that axis, not one element.
    """
    reads: list[tirx.BufferRegion] = []
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
    """A part of a buffer, from where it begins along each axis and how long it is."""
    return tirx.BufferRegion(buffer, [ir.Range.from_min_extent(begin, length) for begin, length in ranges])


def point(buffer: tirx.Buffer, indices: Sequence[ir.Expr]) -> tirx.BufferRegion:
    """One element of a buffer as a part of it."""
    return tirx.BufferRegion(buffer, [_one(i) for i in indices])


def add_region(regions: list[tirx.BufferRegion], new: tirx.BufferRegion) -> None:
    """Add a part of a buffer to those that a block reads.

    Schedules want one part for each buffer. Along an axis where two parts differ, the one that is left is all of the axis.
    """
    at = next((i for i, old in enumerate(regions) if old.source.same_as(new.source)), None)
    if at is None:
        regions.append(new)
        return
    both = zip(regions[at].region, new.region, new.source.shape, strict=True)
    ranges = [a if tvm_ffi.structural_equal(a, b) else ir.Range(tirx.const(0, str(a.min.ty.dtype)), size) for a, b, size in both]
    regions[at] = tirx.BufferRegion(new.source, ranges)


def with_body(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    """A loop around another body."""
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)


def loads_in(expr: ir.Expr | tirx.Stmt) -> list[ir.TensorLoad]:
    """Every load within an expression or a statement."""
    found: list[ir.TensorLoad] = []
    tvm_ffi.structural_walk(expr, (ir.TensorLoad, found.append))
    return found


def stores_in(stmt: tirx.Stmt) -> list[tirx.BufferStore]:
    """All stores in a statement."""
    found: list[tirx.BufferStore] = []
    tvm_ffi.structural_walk(stmt, (tirx.BufferStore, found.append))
    return found


def fresh(v: tirx.IterVar) -> tirx.IterVar:
    """An axis of the same name, length and kind."""
    return tirx.IterVar(v.dom, tirx.Var(v.var.name, str(v.var.ty.dtype)), v.iter_type)


def substitute(expr: ir.Expr | tirx.Stmt, values: Mapping[ir.Var, ir.Expr]) -> ir.Expr | tirx.Stmt:
    """Replace variables in an expression or a statement."""
    def replace(var: ir.Var) -> ir.Expr:
        return next((new for old, new in values.items() if old.same_as(var)), var)

    return tvm_ffi.structural_map(expr, (ir.Var, replace), order="post")


def with_fresh_names(expr: ir.Expr) -> ir.Expr:
    """Copy an expression with new names, so that the copy can stand in the same function."""
    def renamed(let: tirx.Let) -> tirx.Let:
        var = tirx.Var(let.var.name, str(let.value.ty.dtype))
        return tirx.Let(var, let.value, substitute(let.body, {let.var: var}))

    return tvm_ffi.structural_map(expr, (tirx.Let, renamed), order="post")
