"""Sums over the channels of a group, where a vector holds several groups: one load, and a shuffle for each product.

    for lane in range(16):                                          x' = x[0:16]
        for k in range(4):                                    ->    acc[0:16] += x'[0, 0, 0, 0, 4, 4, 4, 4, ...] * w[0, 0:16]
            acc[lane] += x[lane // 4 * 4 + k] * w[k, lane]          acc[0:16] += x'[1, 1, 1, 1, 5, 5, 5, 5, ...] * w[1, 0:16]
                                                                    ...

A loop over lanes asks for it by the annotation `LANE_GROUPS`, the channels of a group. TVM would load each lane by itself.
"""
from __future__ import annotations

import tvm
import tvm_ffi
from tvm import ir, sym, tirx

from .loop_nests import substitute
from .module_pass import ModulePass

LANE_GROUPS = "tenfold.lane_groups"


@tvm.transform.module_pass(opt_level=0, name="LaneGroups")
class LaneGroups(ModulePass):
    """Rewrite the annotated loops of all kernels of a module without blocks."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: lane_groups(f) if isinstance(f, tirx.PrimFunc) else f for var, f in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def lane_groups(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Rewrite the annotated loops of a function; those of another form, such as the one that sets accumulators to zero, stay vectors."""
    def rewrite(loop: tirx.For) -> tirx.Stmt:
        if LANE_GROUPS not in loop.annotations:
            return loop
        if isinstance(loop.body, tirx.For):
            return _shuffled(loop, int(loop.annotations[LANE_GROUPS]))
        annotations = {key: value for key, value in loop.annotations.items() if key != LANE_GROUPS}
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, loop.body, None, annotations)

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, rewrite), order="post"))


def _shuffled(loop: tirx.For, size: int) -> tirx.Stmt:
    """What one loop over lanes of whole groups, each so large, becomes."""
    inner, lanes = loop.body, int(loop.extent)
    store, lane, k = inner.body, loop.loop_var, inner.loop_var
    old, x, w = store.value.a, store.value.b.a, store.value.b.b
    analyzer = sym.Analyzer()

    def vector(indices: tuple[ir.Expr, ...], step: int) -> list[ir.Expr]:
        """The places of all lanes from that of the first on, for a step."""
        at = {lane: loop.min, k: tirx.const(step, str(k.ty.dtype))}
        *outer, first = (analyzer.simplify(substitute(index, at)) for index in indices)
        return [*outer, tirx.Ramp(first, tirx.const(1, str(first.ty.dtype)), lanes)]

    values = tirx.BufferLoad(x.source, vector(tuple(x.indices), 0))
    at = vector(tuple(store.indices), 0)
    stores = []
    for step in range(int(inner.extent)):
        chosen = tirx.Shuffle([values], [tirx.const(each // size * size + step, "int32") for each in range(lanes)])
        product = chosen * tirx.BufferLoad(w.source, vector(tuple(w.indices), step))
        stores.append(tirx.BufferStore(store.buffer, tirx.BufferLoad(old.source, at) + product, at))
    return stores[0] if len(stores) == 1 else tirx.SeqStmt(stores)
