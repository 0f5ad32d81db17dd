"""Schedule rules for CPUs, in the order in which they are tried: the more special first."""
from __future__ import annotations

from functools import wraps

from tvm import tirx
from tvm.s_tir import Schedule

from ...targets import CpuTarget
from ..rule import Rule
from .chain.schedule import schedule_chain
from .conv2d.depthwise import schedule_depthwise
from .conv2d.schedule import schedule_conv2d
from .dense.matvec import schedule_matvec
from .dense.matvec_chain import schedule_matvec_chain
from .fallback import schedule_fallback
from .injective.elementwise import schedule_elementwise, schedule_untouched
from .int8.schedule import schedule_byte_depthwise, schedule_int8
from .reduction.pool import schedule_pool
from .reduction.reduction import schedule_reduction
from .reduction.response_norm import schedule_response_norm
from .reduction.softmax import schedule_softmax
from .resize import schedule_resize
from .winograd.schedule import schedule_winograd


def _with_what_follows(rule: Rule[CpuTarget]) -> Rule[CpuTarget]:
    """The rule for a kernel with, in nests of their own, the element-wise blocks behind it that it does not take in."""
    @wraps(rule)
    def both(func: tirx.PrimFunc, target: CpuTarget) -> Schedule | None:
        s = rule(func, target)
        return None if s is None else schedule_untouched(s, target)

    return both


KERNELS: list[Rule[CpuTarget]] = [
    schedule_chain, schedule_conv2d, schedule_winograd, schedule_byte_depthwise, schedule_depthwise, schedule_matvec_chain, schedule_matvec,
    schedule_int8,
]
RULES: list[Rule[CpuTarget]] = [
    *map(_with_what_follows, KERNELS),
    schedule_resize,
    schedule_response_norm,
    schedule_pool,
    schedule_softmax,
    schedule_reduction,
    schedule_elementwise,
    schedule_fallback,
]
