"""Software prefetch: while a loop works on one part of an operand, the next part is loaded into the cache."""
from __future__ import annotations

from collections.abc import Sequence

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from ...tir.loop_nests import loads_in, substitute

ANNOTATION = "tenfold.prefetch"  # of a loop: the buffer's name
LOCALITY = 2                     # into L2


def share_of(passes: int, rows: int) -> int:
    """Choose into how many parts to split `rows`, each pass asking for one part: a divisor of `rows` near `passes`.

    Where there are fewer parts than passes, some ask in vain; where there are more, some are not asked for.
    """
    divisors = [d for d in range(1, rows + 1) if rows % d == 0]
    return max(divisors, key=lambda d: (min(passes, d) / max(passes, d), d))


def prefetch_rows(s: Schedule, loop: LoopRV, name: str, passes: Sequence[LoopRV], line_bytes: int, taps: int = 1) -> Schedule:
    """Let a loop over rows ask for the rows that the next block of the operand `name` has.

    for pass: for r: for q: use w[..., r * n + q, :]    ->    for pass: for r: prefetch w[..., R + pass * length(r) + r, :]; for q: ...

    Parameters
    ----------
    s : Schedule
        The schedule; it gets an annotation.
    loop : LoopRV
        The loop over r.
    name : str
        The operand, R rows of which are used in each pass; the block behind it in memory is used after the last pass.
    passes : sequence of LoopRV
        The loops over passes, the outermost first.
    line_bytes : int
        Of the caches: one is asked for at a time.
    taps : int
        How many times R rows a block has: those of each kernel position, one after the other.

    Returns
    -------
    Schedule
        A schedule of the changed function.
    """
    outer = tirx.const(0, "int32")
    for one in passes:
        outer = outer * s.get(one).extent + s.get(one).loop_var
    s.annotate(loop, ANNOTATION, name)

    def injected(node: tirx.For) -> tirx.For:
        if ANNOTATION not in node.annotations:
            return node
        [load] = [ld for ld in _loads(node) if ld.source.name == name]
        *lead, _, _ = load.indices
        *_, rows, width = load.source.shape
        row = rows * taps + outer * node.extent + node.loop_var
        lines = [tirx.BufferLoad(load.source, [*lead, row, tirx.const(v, "int32")]) for v in range(0, int(width), line_bytes // 4)]
        body = tirx.SeqStmt([*(tirx.Evaluate(_hint(line)) for line in lines), node.body])
        return tirx.For(node.loop_var, node.min, node.extent, node.kind, body)

    func = s.mod["main"]
    return Schedule(tvm_ffi.structural_map(func, (tirx.For, injected), order="post"))


def _hint(load: tirx.BufferLoad) -> ir.Expr:
    read, data = tirx.const(0, "int32"), tirx.const(1, "int32")
    return tirx.call_llvm_intrin("void", "llvm.prefetch.p0", tirx.address_of(load), read, tirx.const(LOCALITY, "int32"), data)


def _loads(loop: tirx.For) -> list[tirx.BufferLoad]:
    """The loads in a loop, in terms of the loops around it; loops within it are at their first iteration."""
    realizes: list[s_tir.SBlockRealize] = []
    inner: list[tirx.For] = []
    tvm_ffi.structural_walk(loop, (s_tir.SBlockRealize, realizes.append))
    tvm_ffi.structural_walk(loop, (tirx.For, inner.append))
    zeros = {f.loop_var: tirx.const(0, str(f.loop_var.ty.dtype)) for f in inner}
    found: list[tirx.BufferLoad] = []
    for realize in realizes:
        values = {v.var: substitute(value, zeros) for v, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)}
        found += [tirx.BufferLoad(ld.source, [substitute(i, values) for i in ld.indices]) for ld in loads_in(realize.block.body)]
    return found
