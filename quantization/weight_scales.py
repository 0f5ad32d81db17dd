"""The steps of weights: symmetric, whole numbers from -127 to 127, one step for each output channel or for all of them."""
from __future__ import annotations

import numpy as np

LARGEST = 127
OF_ZEROS = 2.0**-20  # any step represents zeros; of a small one the bias, in steps of it, loses little
RATIOS = np.linspace(0.5, 1, 51)  # of the largest magnitude that clipping tries


def weight_scales(rows: np.ndarray, per_channel: bool = True, clip: bool = False) -> np.ndarray:
    """The steps of a weight.

    Parameters
    ----------
    rows : ndarray
        (F, D): one row for each output channel.
    per_channel : bool
        Whether each row has a step of its own.
    clip : bool
        Whether the largest weights may saturate where that makes the mean squared error smaller.

    Returns
    -------
    ndarray
        (F,), float32, above 0; of rows of zeros `OF_ZEROS`.
    """
    rows = np.asarray(rows, np.float64)
    groups = rows if per_channel else rows.reshape(1, -1)
    largest = np.abs(groups).max(axis=1, initial=0.0)
    best = largest.copy()
    if clip:
        errors = np.stack([_squared_errors(groups, ratio * largest) for ratio in RATIOS])
        best = RATIOS[errors.argmin(axis=0)] * largest
    scales = (best / LARGEST).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = OF_ZEROS
    return scales if per_channel else np.repeat(scales, len(rows))


def _squared_errors(rows: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Of each row, saturated at a magnitude."""
    scales = np.where(largest > 0, largest / LARGEST, 1.0)[:, None]
    return np.square(np.clip(np.rint(rows / scales), -LARGEST, LARGEST) * scales - rows).sum(axis=1)
