"""Conditions inside loop nests become bounds of the loops, so that no innermost loop has a branch.

    for k in range(3):                                  for k in range(max(0, 1 - y), min(3, 17 - y)):
        for c in range(64):                                 for c in range(64):
            if 1 <= y + k < 17: ...                  ->         ...

    for t in range(3):                                  for t in range(2): ...
        ... if 6 * t + p < 16: ...                   ->  t = 2: ...

The second is done only where a loop asks for it (`SPLIT`), because it copies the loop's body. TVM hoists a condition as a whole or not at
all. LLVM copies loops for some of the conditions that are left: of three kernel rows it kept the accumulators of two in registers, and
those of the third in memory.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, s_tir, sym, tirx

from .loop_nests import substitute
from .module_pass import ModulePass

SPLIT = "tenfold.split"  # annotation of a loop: the values for which the conditions in its body are known become loops of their own
ALIKE, EACH = 1, 2  # its value: such values are one loop; or each of those for which not all conditions hold stands by itself
MOST_SEGMENTS = {ALIKE: 4, EACH: 12}  # that a loop is split into
REWRITTEN_KINDS = (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED, tirx.ForKind.VECTORIZED)
COMPARISONS = {tirx.LT: (0, -1), tirx.LE: (0, 0), tirx.GT: (1, -1), tirx.GE: (1, 0)}  # the smaller side, and what equality adds


def lower_blocks(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite scheduled functions as plain loops: the first half of TVM's lowering, in TVM's order."""
    steps = s_tir.transform
    passes = [
        steps.CanonicalizeLoop(),
        steps.LowerInitBlock(),
        steps.PlanAndUpdateBufferAllocationLocation(),
        steps.ConvertBlocksToOpaque(),
        steps.CompactBufferAllocation(),
        steps.LowerMatchBuffer(),
        steps.StmtSimplify(),
        steps.LowerOpaqueBlock(),
    ]
    return tvm.ir.transform.Sequential(passes)(mod)


@tvm.transform.module_pass(opt_level=0, name="BoundLoops")
class BoundLoops(ModulePass):
    """Rewrite the loops of all kernels of a module without blocks."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: bound_loops(f) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return s_tir.transform.ConvertSSA()(tvm.IRModule(functions, attrs=mod.attrs))


def bound_loops(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Move the conditions of a function as far out as they can be, and make them bounds of loops where possible."""
    analyzer = sym.Analyzer()
    for loop in _all(func.body, tirx.For):
        analyzer.bind(loop.loop_var, ir.Range.from_min_extent(loop.min, loop.extent))

    def rewrite(loop: tirx.For) -> tirx.Stmt:
        if loop.kind not in REWRITTEN_KINDS:
            return loop
        return _hoisted(_split(loop, analyzer) if SPLIT in loop.annotations else loop, analyzer)

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, rewrite), order="post"))


def _hoisted(loop: tirx.Stmt, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Move the condition that a loop is around.

    Parts of it that do not depend on the loop go around the loop. Parts that bound the loop's variable go into its range. A vector of
    several statements becomes one of each.
    """
    if isinstance(loop, tirx.For) and loop.kind == tirx.ForKind.VECTORIZED and isinstance(loop.body, tirx.SeqStmt):
        return tirx.SeqStmt([_hoisted(_loop(loop, loop.loop_var, loop.min, loop.extent, one), analyzer) for one in loop.body.seq])
    if not isinstance(loop, tirx.For) or not isinstance(loop.body, tirx.IfThenElse) or loop.body.else_case is not None:
        return loop
    parts = list(_conjuncts(loop.body.condition))
    if any(_reads_memory(part) for part in parts):
        return loop
    own = [part for part in parts if _uses(part, loop.loop_var)]
    free = [part for part in parts if not _uses(part, loop.loop_var)]
    begin, end = loop.min, loop.min + loop.extent
    kept: list[ir.Expr] = []
    for part in own:
        bounds = _bounds(part, loop.loop_var)
        if bounds is None or (loop.kind != tirx.ForKind.SERIAL and not _shortens(bounds, loop, analyzer)):
            kept.append(part)
            continue
        begin = begin if bounds[0] is None else tirx.max(begin, bounds[0])
        end = end if bounds[1] is None else tirx.min(end, bounds[1])
    zero = tirx.const(0, loop.loop_var.ty.dtype)
    begin, extent = analyzer.simplify(begin), analyzer.simplify(tirx.max(end - begin, zero))
    if isinstance(extent, tirx.IntImm) and extent.value == 0:
        return tirx.Evaluate(0)
    body = _behind(kept, loop.body.then_case)
    if isinstance(extent, tirx.IntImm) and not isinstance(begin, tirx.IntImm):
        # The number of turns does not depend on where they begin, so count from zero. Otherwise y + k, from k = 1 - y on, has y times zero,
        # by which TVM's analysis divides.
        body, begin = substitute(body, {loop.loop_var: begin + loop.loop_var}), zero
        body = tvm_ffi.structural_map(body, (tirx.Add, analyzer.simplify), order="post")
    return _behind(free, _loop(loop, loop.loop_var, begin, extent, body))


def _shortens(bounds: tuple[ir.Expr | None, ir.Expr | None], loop: tirx.For, analyzer: sym.Analyzer) -> bool:
    """Whether bounds cut a known number of turns off the end of a loop: then vectors stay vectors."""
    begin, end = bounds
    return begin is None and isinstance(analyzer.simplify(tirx.min(end, loop.min + loop.extent)), tirx.IntImm)


def _bounds(condition: ir.Expr, var: ir.Var) -> tuple[ir.Expr | None, ir.Expr | None] | None:
    """The first value of a variable for which a comparison holds, and the first behind the last; None if it is not linear in it."""
    kind = type(condition)
    if kind not in COMPARISONS:
        return None
    smaller, strict = COMPARISONS[kind]
    left, right = (condition.a, condition.b) if smaller == 0 else (condition.b, condition.a)
    found = sym.detect_linear_equation(right - left + strict, [var])  # >= 0
    if not len(found) or not isinstance(found[0], tirx.IntImm) or found[0].value == 0:
        return None
    slope, offset = found[0].value, found[1]
    if slope > 0:
        return tirx.floordiv(slope - 1 - offset, slope), None
    return None, tirx.floordiv(offset, -slope) + 1


def _split(loop: tirx.For, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Split a loop into runs of values for which the same conditions of the body always hold."""
    if not isinstance(loop.min, tirx.IntImm) or not isinstance(loop.extent, tirx.IntImm):
        return loop
    found = [part for branch in _all(loop.body, tirx.IfThenElse) for part in _conjuncts(branch.condition)]
    conditions = [part for part in found if _uses(part, loop.loop_var) and not _reads_memory(part)]
    first, dtype = loop.min.value, loop.loop_var.ty.dtype

    def known(value: int) -> tuple[bool, ...]:
        at = {loop.loop_var: tirx.const(value, dtype)}
        return tuple(analyzer.can_prove(substitute(condition, at)) for condition in conditions)

    runs = [list(run) for _, run in groupby(range(first, first + loop.extent.value), known)]
    how = int(loop.annotations[SPLIT])
    if how == EACH:
        runs = [part for run in runs for part in ([run] if all(known(run[0])) else [[value] for value in run])]
    if len(runs) == 1 or len(runs) > MOST_SEGMENTS[how]:
        return loop

    def vectors_again(inner: tirx.For) -> tirx.Stmt:
        return _hoisted(inner, analyzer) if inner.kind == tirx.ForKind.VECTORIZED else inner

    def segment(run: list[int]) -> tirx.Stmt:
        if len(run) == 1:
            body = substitute(loop.body, {loop.loop_var: tirx.const(run[0], dtype)})
            # How many lanes of a last vector there are is known only now.
            return tvm_ffi.structural_map(body, (tirx.For, vectors_again), order="post")
        held = [condition for condition, holds in zip(conditions, known(run[0]), strict=True) if holds]
        body = _without(held, loop.body)
        return _loop(loop, loop.loop_var, tirx.const(run[0], dtype), tirx.const(len(run), dtype), body)

    return tirx.SeqStmt([segment(run) for run in runs])


def _without(held: list[ir.Expr], body: tirx.Stmt) -> tirx.Stmt:
    """A statement whose branches do not test what holds: of a vector with a condition, TVM would make a loop."""
    def free(branch: tirx.IfThenElse) -> tirx.Stmt:
        if branch.else_case is not None:
            return branch
        return _behind([part for part in _conjuncts(branch.condition) if not any(part.same_as(one) for one in held)], branch.then_case)

    return tvm_ffi.structural_map(body, (tirx.IfThenElse, free), order="post")


def _loop(loop: tirx.For, var: ir.Var, begin: ir.Expr, extent: ir.Expr, body: tirx.Stmt) -> tirx.For:
    annotations = {key: value for key, value in loop.annotations.items() if key != SPLIT}
    return tirx.For(var, begin, extent, loop.kind, body, loop.thread_binding, annotations)


def _behind(conditions: list[ir.Expr], body: tirx.Stmt) -> tirx.Stmt:
    return tirx.IfThenElse(tirx.all(*conditions), body, None) if conditions else body


def _conjuncts(condition: ir.Expr) -> Iterator[ir.Expr]:
    if isinstance(condition, tirx.And):
        yield from _conjuncts(condition.a)
        yield from _conjuncts(condition.b)
    else:
        yield condition


def _all(node: ir.Expr | tirx.Stmt, kind: type) -> list[Any]:
    """Every node of a kind within an expression or a statement."""
    found: list[Any] = []
    tvm_ffi.structural_walk(node, (kind, found.append))
    return found


def _uses(expr: ir.Expr, var: ir.Var) -> bool:
    return any(one.same_as(var) for one in _all(expr, ir.Var))


def _reads_memory(expr: ir.Expr) -> bool:
    return bool(_all(expr, ir.TensorLoad) or _all(expr, ir.Call))
