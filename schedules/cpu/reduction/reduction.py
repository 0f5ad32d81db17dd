"""A sum, mean, maximum or the like over any axes, with element-wise neighbours: global pooling among them.

The loop nest is that of `rows` or `columns`. Where that makes too few tasks (one image, few channels, a large image; a sum
over everything) the function is left to `fallback`, which splits the reduction into a part for each task.
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from .shared_rows import schedule_shared_rows, shared_rows


def schedule_reduction(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions with one reduction."""
    found = shared_rows(func)
    if found is None:
        return None
    s, shape = found
    if shape.maps_elements or len(shape.reductions) != 1 or shape.leaves_cores_idle(target):
        return None
    return schedule_shared_rows(s, shape, target)
