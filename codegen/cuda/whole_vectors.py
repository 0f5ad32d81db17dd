"""Indices of vectorised loops without their lanes, where a vector never crosses a border: what guards a vector then does so as a whole.

    (128 * t + 4 * u + lane) // 80    ->    (128 * t + 4 * u) // 80
    (128 * t + 4 * u + lane) % 80     ->    (128 * t + 4 * u) % 80 + lane
"""
from __future__ import annotations

import tvm
import tvm_ffi
from tvm import ir, sym, tirx

from ...schedules.tir.analysis import mentions
from ...schedules.tir.loop_nests import substitute, with_body


@tirx.transform.prim_func_pass(opt_level=0, name="WholeVectors")
class WholeVectors:
    """Rewrite the loops of all functions."""

    def transform_function(self, func: tirx.PrimFunc, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tirx.PrimFunc:
        """Rewrite the loops of one function."""
        return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, _loop), order="post"))


def _loop(loop: tirx.For) -> tirx.For:
    if loop.kind != tirx.ForKind.VECTORIZED or not isinstance(loop.extent, tirx.IntImm):
        return loop
    lanes, lane, analyzer = int(loop.extent.value), loop.loop_var, sym.Analyzer()
    analyzer.bind(lane, ir.Range.from_min_extent(loop.min, loop.extent))

    def begin(position: ir.Expr, border: ir.Expr) -> ir.Expr | None:
        """Where the vector begins, if its lanes follow each other from a multiple of their number, and so do the borders."""
        if not isinstance(border, tirx.IntImm) or int(border.value) % lanes or not mentions(position, lane):
            return None
        first = analyzer.simplify(substitute(position, {lane: tirx.const(0, str(lane.ty.dtype))}))
        if not analyzer.can_prove_equal(position, first + lane):
            return None
        known = analyzer.modular_set(first)
        return first if known.coeff % lanes == 0 == known.base % lanes else None

    def divided(node: tirx.FloorDiv) -> ir.Expr:
        first = begin(node.a, node.b)
        return node if first is None else analyzer.simplify(tirx.floordiv(first, node.b))

    def rest(node: tirx.FloorMod) -> ir.Expr:
        first = begin(node.a, node.b)
        return node if first is None else analyzer.simplify(tirx.floormod(first, node.b)) + lane

    return with_body(loop, tvm_ffi.structural_map(loop.body, [(tirx.FloorDiv, divided), (tirx.FloorMod, rest)], order="post"))
