"""In which precision a kernel multiplies: its function's name tells, since it begins with the name of the kernel."""
from __future__ import annotations

import re

from ...targets.target import FLOAT32

# Operands are bytes or bfloat16, or only weights in memory are of 16 bits.
_OPERANDS = re.compile(r"(fused_)?(int8|bfloat16)_(conv2d|dense|depthwise)")
_WEIGHTS = re.compile(r"(fused_)?(bfloat16|float16)_matvec")


def kernel_precision(function: str) -> str:
    """Return the precision of a kernel's operands, as manifests have it.

    Parameters
    ----------
    function : str
        The kernel's name.

    Returns
    -------
    str
        Such as ``bfloat16``, or ``float16 weights`` where only the weights in memory are shorter than float32.
    """
    if found := _OPERANDS.match(function):
        return found[2]
    return f"{found[2]} weights" if (found := _WEIGHTS.match(function)) else FLOAT32
