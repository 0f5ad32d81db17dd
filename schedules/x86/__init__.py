"""Schedule rules for x86, in the order in which they are tried: the more special first."""
from __future__ import annotations

from functools import wraps

from tvm import tirx
from tvm.s_tir import Schedule

from ...targets import Target
from ..rule import Rule
from .chain_schedule import schedule_chain
from .conv2d_schedule import schedule_conv2d
from .depthwise import schedule_depthwise
from .elementwise import schedule_elementwise, schedule_untouched
from .fallback import schedule_fallback
from .matvec import schedule_matvec
from .matvec_chain import schedule_matvec_chain
from .pool import schedule_pool
from .reduction import schedule_reduction
from .response_norm import schedule_response_norm
from .softmax import schedule_softmax
from .winograd_schedule import schedule_winograd


def _with_what_follows(rule: Rule) -> Rule:
    """The rule for a kernel with, in nests of their own, the element-wise blocks behind it that it does not take in."""
    @wraps(rule)
    def both(func: tirx.PrimFunc, target: Target) -> Schedule | None:
        s = rule(func, target)
        return None if s is None else schedule_untouched(s, target)

    return both


KERNELS = [schedule_chain, schedule_conv2d, schedule_winograd, schedule_depthwise, schedule_matvec_chain, schedule_matvec]
RULES = [
    *map(_with_what_follows, KERNELS),
    schedule_response_norm,
    schedule_pool,
    schedule_softmax,
    schedule_reduction,
    schedule_elementwise,
    schedule_fallback,
]
