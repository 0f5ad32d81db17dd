"""Long sums in parts: each part in accumulators of its own, the parts added.

    for k < K: acc += f(k)    ->    for part < K / P: (for k < P: sums += f(part * P + k)); acc += sums

The rounding errors of a sum in one accumulator grow with its length. In parts of P they grow with P and K / P. The sums take the registers,
and the accumulators lie on the stack: a part costs a load, an addition and a store for each of them.
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from .common import extent_of

KEPT_WHOLE = 512   # products: such sums are exact enough, and in parts they took 8 % longer in whole networks
LONGEST_SUM = 256  # products; with 2048 of them in one accumulator, the error of a pointwise layer was 3.7 times that of ONNX Runtime


def part_of(length: int, longest: int = LONGEST_SUM, whole: int = KEPT_WHOLE) -> int:
    """How long a part of a sum is: the largest divisor of the length that is no longer than `longest`.

    The sum stays whole where that is less than half as long, and up to `whole`.
    """
    if length <= whole:
        return length
    part = max(d for d in range(1, min(length, longest) + 1) if length % d == 0)
    return part if 2 * part >= longest else length


def split_sum(s: Schedule, block: SBlockRV, axis: LoopRV, part: int | None = None) -> SBlockRV | None:
    """Split a sum over one axis, the last loop of a nest; the loops of other reductions have one step.

    Parameters
    ----------
    s : Schedule
    block : SBlockRV
        Adds the parts afterwards; its loop over them is the last one.
    axis : LoopRV
    part : int, optional
        How long a part is. Default: `part_of` the length.

    Returns
    -------
    SBlockRV or None
        The block that sums up a part; None where the sum stays whole.
    """
    part = part_of(extent_of(s, axis)) if part is None else part
    if part == extent_of(s, axis):
        return None
    spatial = sum(v.iter_type == tirx.IterVar.DataPar for v in s.get(block).iter_vars)
    others = s.get_loops(block)[spatial:-1]
    number, _ = s.split(axis, [None, part])
    s.reorder(number, *others)
    sums = s.rfactor(number, 0)
    s.reorder_block_iter_var(block, [*range(1, spatial + 1), 0])  # which were the other way round
    return sums


def schedule_sum_of_parts(s: Schedule, block: SBlockRV, part: SBlockRV, lanes: int) -> LoopRV:
    """Schedule the block that adds the parts; return the loop over them, in which the sum of one is computed.

    Parameters
    ----------
    s : Schedule
    block, part : SBlockRV
        What `split_sum` was given, and what it returned.
    lanes : int
        Numbers in a vector.
    """
    pixel, channel, number = s.get_loops(block)[-3:]
    vector, lane = s.split(channel, [None, lanes])
    s.reorder(number, pixel, vector, lane)
    s.unroll(pixel)
    s.unroll(vector)
    s.vectorize(lane)
    s.decompose_reduction(block, number)
    s.compute_at(part, number, preserve_unit_loops=True)
    return number
