"""bfloat16 numbers as NumPy has them here: their bits, ``uint16``."""
from __future__ import annotations

import numpy as np

from ...tir.pair_products import HALF


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round float32 numbers to bfloat16, as uint16: to nearest, halves to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(HALF)


def from_bfloat16(halves: np.ndarray) -> np.ndarray:
    """Return the numbers that `to_bfloat16` made, as float32."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
