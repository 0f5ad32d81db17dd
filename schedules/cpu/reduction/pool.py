"""Pooling of NHWC images: channels are the vectors, the window is unrolled, padding is a branch on the way to the load.

The loop nest is that of `columns`, with the window as the reduction.
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from ...tir.analysis import Block, mentions
from .shared_rows import schedule_shared_rows, shared_rows


def schedule_pool(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for max and average pooling with element-wise neighbours: one reduction over windows, channels last."""
    found = shared_rows(func)
    if found is None:
        return None
    s, shape = found
    if len(shape.reductions) != 1 or shape.maps_elements or not is_window(shape.reductions[0]):
        return None
    return schedule_shared_rows(s, shape, target)


def is_window(block: Block) -> bool:
    """Whether a reduction slides a window over its operand and leaves the contiguous axis alone."""
    if block.vector_axis is None or len(block.loads) != 1:
        return False
    spatial = [v for v, k in zip(block.axes, block.kinds, strict=True) if k == "S"]
    reduced = [v for v, k in zip(block.axes, block.kinds, strict=True) if k == "R"]
    return any(any(mentions(i, v) for v in spatial) and any(mentions(i, v) for v in reduced) for i in block.loads[0].indices)
