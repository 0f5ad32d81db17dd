"""Schedule rules for GPUs, in the order in which they are tried: the more special first."""
from __future__ import annotations

from ...targets import GpuTarget
from ..rule import Rule
from .chain.schedule import schedule_chain
from .direct.schedule import schedule_direct
from .gemm.schedule import schedule_gemm
from .gemm.tensor_schedule import schedule_tensor
from .injective import schedule_injective
from .matvec import schedule_matvec
from .reduction import schedule_reductions

RULES: list[Rule[GpuTarget]] = [
    schedule_chain, schedule_gemm, schedule_tensor, schedule_direct, schedule_matvec, schedule_injective, schedule_reductions,
]
