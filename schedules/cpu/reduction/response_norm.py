"""Local response normalisation over the contiguous axis, in one pass over the tensor.

    y[c] = x[c] / (bias + scale * sum over the window of x[c + r] ** 2) ** beta

The loop nest made:

    parallel outer axes
        squares of a few rows (pixels), zeros before and behind each     stay in L1
        row
            vectors: a load for each position of the window
"""
from __future__ import annotations

from math import ceil, gcd

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from ...shapes import ResponseNorm
from ...tir.analysis import block_of, find_annotated
from ..common import extent_of, parallel_outer

ANNOTATION = "tenfold.response_norm"  # of the block of squares: elements in a vector
LONGEST = 16       # windows are unrolled


def response_norm(data: te.Tensor, norm: ResponseNorm, target: CpuTarget) -> te.Tensor:
    """The operator as TE, over the last axis of a float32 tensor."""
    *lead, channels = (int(d) for d in data.shape)
    lanes = gcd(channels, target.lanes)
    # Squares and zeros in whole vectors, as an axis of their own: one test for each, and compute_at takes all of them.
    front, vectors, end = ceil(norm.before / lanes), channels // lanes, ceil(norm.behind / lanes)

    def square(*i: ir.Expr) -> ir.Expr:
        *row, vector, lane = i
        at = *row, (vector - front) * lanes + lane
        value = data[at]
        inside = tirx.all(vector >= front, vector < front + vectors)
        return tirx.if_then_else(inside, value * value, tirx.const(0, "float32"))

    squares = te.compute((*lead, front + vectors + end, lanes), square, name="squares", attrs={ANNOTATION: lanes})

    def normalised(*i: ir.Expr) -> ir.Expr:
        row = i[:-1]
        positions = [i[-1] + front * lanes + r for r in range(-norm.before, norm.behind + 1)]
        places = [(*row, p // lanes, p % lanes) for p in positions]
        first, *others = [squares[place] for place in places]
        base = tirx.const(norm.bias, "float32") + sum(others, start=first) * tirx.const(norm.scale, "float32")
        return data(*i) / tirx.power(base, tirx.const(norm.beta, "float32"))

    return te.compute(data.shape, normalised, name="normalised")


def schedule_response_norm(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for `response_norm`."""
    s = Schedule(func)
    squares = find_annotated(s, ANNOTATION)
    if squares is None:
        return None
    lanes = int(s.get(squares).annotations[ANNOTATION])
    out = s.get_sblock("normalised")
    # 1. Rows in chunks, of which the squares are done first.
    *outer, rows, channel = s.get_loops(out)
    vectors = int(s.get(squares).iter_vars[-2].dom.extent)
    chunk, _ = s.split(rows, [None, chunk_rows(extent_of(s, rows), vectors, target)])
    chunk = parallel_outer(s, [*outer, chunk], block_of(s, out).work_cycles(target.model), target)
    s.compute_at(squares, chunk, preserve_unit_loops=True)
    # 2. Vectors.
    s.vectorize(s.get_loops(squares)[-1])
    s.vectorize(s.split(channel, [None, lanes])[1])
    return s


def chunk_rows(rows: int, vectors: int, target: CpuTarget) -> int:
    """Rows of a chunk, a divisor: so many that their first squares have left the store buffer when they are read.

    A load that spans two of its entries waits until both are in the cache.
    """
    return next(n for n in range(1, rows + 1) if rows % n == 0 and (n * vectors >= target.model.store_buffer or n == rows))
