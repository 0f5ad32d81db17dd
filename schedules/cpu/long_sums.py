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


def part_of(length: int) -> int:
    """How long a part of a sum is: the largest divisor of the length that is no longer than `LONGEST_SUM`.

    The sum stays whole where that is less than half as long, and up to `KEPT_WHOLE`.
    """
    if length <= KEPT_WHOLE:
        return length
    part = max(d for d in range(1, min(length, LONGEST_SUM) + 1) if length % d == 0)
    return part if 2 * part >= LONGEST_SUM else length


def split_sum(s: Schedule, block: SBlockRV, axis: LoopRV) -> SBlockRV | None:
    """Split a sum over one axis, the last loop of a nest; the loops of other reductions have one step.

    Parameters
    ----------
    s : Schedule
    block : SBlockRV
        Adds the parts afterwards; its loop over them is the last one.
    axis : LoopRV

    Returns
    -------
    SBlockRV or None
        The block that sums up a part; None where the sum stays whole.
    """
    part = part_of(extent_of(s, axis))
    if part == extent_of(s, axis):
        return None
    spatial = sum(v.iter_type == tirx.IterVar.DataPar for v in s.get(block).iter_vars)
    others = s.get_loops(block)[spatial:-1]
    number, _ = s.split(axis, [None, part])
    s.reorder(number, *others)
    sums = s.rfactor(number, 0)
    s.reorder_block_iter_var(block, [*range(1, spatial + 1), 0])  # which were the other way round
    return sums
