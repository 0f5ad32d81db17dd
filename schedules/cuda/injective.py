"""Element-wise and injective functions: activations, broadcasts, resizing, slices, permutes, concatenation, gathers."""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from ...targets import GpuTarget
from ..tir.analysis import blocks_of
from ..tir.tidy import tidied
from .common import schedule_spatial
from .transposed import crossing_of, schedule_crossing


def schedule_injective(func: tirx.PrimFunc, target: GpuTarget) -> Schedule | None:
    """Rule for functions without reductions: one kernel for each result."""
    s = tidied(func)
    if s is None or not all(set(block.kinds) <= {"S"} for block in blocks_of(s)):
        return None
    for block in blocks_of(s):
        crossing = crossing_of(block)
        if crossing is None:
            schedule_spatial(s, block.rv)
        else:
            schedule_crossing(s, block.rv, crossing)
    return s
