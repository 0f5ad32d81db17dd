"""Weights that were dequantized become integers again.

A reader folds the dequantize of a constant, and what merges layers may have scaled or moved its values since. So the step of each filter is
looked for in the values themselves: the largest of them over a whole number. Where several steps fit, any of them stands for the same
weights, to the rounding of float32.
"""
from __future__ import annotations

import numpy as np

LARGEST = 128           # magnitude of a signed byte
NEAR = 2.0**-14         # of a step: how far products of float32 that were rounded may be from whole numbers of up to 128
FEW = 64                # weights of a filter that are looked at first


def as_integers(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Write a weight as whole steps, a step for each filter.

    Parameters
    ----------
    weight : ndarray
        (F, ...), float32.

    Returns
    -------
    (ndarray, ndarray) or None
        int8 of the same shape, and the steps (F,), float32. None where a filter has values that are not whole multiples of a step, or more
        than a byte can hold.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    if not flat.size or not np.isfinite(flat).all():
        return None
    largest = np.abs(flat).max(axis=1, initial=0.0)
    steps, left = np.ones(len(flat)), largest > 0
    few = np.unique(np.linspace(0, max(flat.shape[1] - 1, 0), FEW).astype(int))
    for count in (127, 128, *range(126, 0, -1)):
        rows = np.flatnonzero(left)
        if not len(rows):
            break
        step = largest[rows] / count
        rows = rows[_whole(flat[np.ix_(rows, few)] / step[:, None])]
        step = largest[rows] / count
        fits = _whole(flat[rows] / step[:, None])
        steps[rows[fits]], left[rows[fits]] = step[fits], False
    if left.any():
        return None
    integers = np.rint(flat / steps[:, None])
    return integers.astype(np.int8).reshape(weight.shape), steps.astype(np.float32)


def _whole(values: np.ndarray) -> np.ndarray:
    """For each row whether all its values are whole numbers that a signed byte holds."""
    whole = np.rint(values)
    held = (whole.max(axis=1, initial=0) < LARGEST) & (whole.min(axis=1, initial=0) >= -LARGEST)
    return (np.abs(values - whole) <= NEAR).all(axis=1) & held
