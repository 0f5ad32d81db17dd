"""Softmax, log-softmax, layer, instance and group normalisation, over any axes: reductions, then a map over what was reduced.

The loop nest is that of `rows` where the reduction runs along the contiguous axis, else that of `columns`.
"""
from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from ....targets import CpuTarget
from .shared_rows import schedule_shared_rows, shared_rows


def schedule_softmax(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
    """Rule for functions that reduce rows and map over them; a row stays in the cache of the core that works on it."""
    found = shared_rows(func)
    if found is None:
        return None
    s, shape = found
    if not (shape.maps_elements or len(shape.reductions) > 1) or shape.leaves_cores_idle(target):
        return None
    return schedule_shared_rows(s, shape, target)
