"""Schedule rules for x86, in the order in which they are tried: the more special first."""
from __future__ import annotations

from .chain_schedule import schedule_chain
from .conv2d_schedule import schedule_conv2d
from .depthwise import schedule_depthwise
from .elementwise import schedule_elementwise
from .fallback import schedule_fallback
from .matvec import schedule_matvec
from .matvec_chain import schedule_matvec_chain
from .pool import schedule_pool
from .reduction import schedule_reduction
from .response_norm import schedule_response_norm
from .softmax import schedule_softmax
from .winograd_schedule import schedule_winograd

RULES = [
    schedule_chain,
    schedule_conv2d,
    schedule_winograd,
    schedule_depthwise,
    schedule_matvec_chain,
    schedule_matvec,
    schedule_response_norm,
    schedule_pool,
    schedule_softmax,
    schedule_reduction,
    schedule_elementwise,
    schedule_fallback,
]
