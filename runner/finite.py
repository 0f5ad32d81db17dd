"""Whether an input holds NaN or infinity, in one pass over it.

A sum with one of them is no finite number, so the sum tells, unless large numbers add up to infinity; only then is every number looked at.
"""
from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np

FEW = 8192  # numbers that BLAS adds up: for more than 10000, OpenBLAS wakes threads of its own, which compete with those of the kernels
MANY = 1 << 20  # numbers from which on a kernel does it, on all threads: from there on a launch costs little
PARTIAL_SUMS = "partial_sums"  # the name of that kernel
TASKS, LANES = 64, 64  # what it makes of (TASKS, any, LANES) numbers: (TASKS, LANES) sums

PartialSums = Callable[[np.ndarray, np.ndarray], object]


def all_finite(array: np.ndarray, partial_sums: PartialSums | None = None) -> bool:
    """Whether a contiguous array holds no NaN and no infinity.

    Parameters
    ----------
    array : ndarray
    partial_sums : callable, optional
        The kernel, if there is one: what to add up, and where to write the sums.
    """
    if array.dtype.kind != "f" or array.size == 0 or isfinite(_sum(array, partial_sums)):
        return True
    return isfinite(np.maximum.reduce(array, axis=None)) and isfinite(np.minimum.reduce(array, axis=None))


def _sum(array: np.ndarray, partial_sums: PartialSums | None) -> float:
    """Of the numbers, or of their squares: einsum and vdot are the fastest that NumPy has, and give no warning when they overflow."""
    if array.size <= FEW:
        return np.vdot(array, array)
    flat = array.reshape(-1)
    if partial_sums is None or flat.size < MANY or flat.dtype != np.float32:
        return np.einsum("i->", flat)
    end = flat.size - flat.size % (TASKS * LANES)
    sums = np.empty((TASKS, LANES), np.float32)
    partial_sums(flat[:end].reshape(TASKS, -1, LANES), sums)
    return float(np.einsum("ij->", sums)) + float(np.einsum("i->", flat[end:]))
