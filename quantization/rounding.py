"""How weights become whole numbers: each to the nearest, or so that later weights make up for what earlier ones lost.

A layer y = W x with W + dW in the place of W errs by tr(dW M dW^T) on the average, M = E[x x^T]; with the bias free to follow, M is the
covariance. Rounding the weights of a row one after the other, what a weight loses is given to those that are not rounded yet, by
the inverse of M: optimal brain surgery (Hassibi and Stork 1993), for quantization optimal brain quantization (Frantar and Alistarh 2022);
in one order for all rows, and by one Cholesky factor, GPTQ (Frantar et al. 2023, algorithm 1).
"""
from __future__ import annotations

import numpy as np
import scipy.linalg

from .weight_scales import LARGEST

DAMPING = 0.01  # of the mean of the diagonal that is added to it
BLOCK = 128  # weights of a row whose losses are handed on at a time


def round_nearest(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Each weight to the nearest whole number of steps.

    Parameters
    ----------
    rows : ndarray
        (F, D).
    scales : ndarray
        (F,), above 0.

    Returns
    -------
    ndarray
        (F, D), int8, from -127 to 127.
    """
    return np.clip(np.rint(np.asarray(rows, np.float64) / _column(scales)), -LARGEST, LARGEST).astype(np.int8)


def round_with_feedback(rows: np.ndarray, scales: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Round weights so that the error of the layer's output is small; no row errs more than rounded to the nearest.

    Parameters
    ----------
    rows : ndarray
        (F, D).
    scales : ndarray
        (F,), above 0.
    moment : ndarray
        (D, D): E[x x^T], or the covariance.

    Returns
    -------
    ndarray
        (F, D), int8, from -127 to 127.
    """
    nearest = round_nearest(rows, scales)
    order = np.argsort(-np.diag(moment), kind="stable")  # what matters most has the most left to make up for it
    factor = _inverse_factor(moment[np.ix_(order, order)])
    if factor is None:
        return nearest
    found = np.empty_like(nearest)
    found[:, order] = _in_order(np.asarray(rows, np.float64)[:, order], _column(scales), factor)
    better = rounding_error(rows, scales, found, moment) < rounding_error(rows, scales, nearest, moment)
    return np.where(better[:, None], found, nearest)


def rounding_error(rows: np.ndarray, scales: np.ndarray, rounded: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Of each row the mean square of the error of its output, dW M dW^T.

    Parameters
    ----------
    rows : ndarray
        (F, D).
    scales : ndarray
        (F,).
    rounded : ndarray
        (F, D), whole numbers of steps.
    moment : ndarray
        (D, D).

    Returns
    -------
    ndarray
        (F,).
    """
    lost = rounded * _column(scales) - rows
    return np.einsum("fd,fd->f", lost @ moment, lost)


def _column(scales: np.ndarray) -> np.ndarray:
    return np.asarray(scales, np.float64)[:, None]


def _inverse_factor(moment: np.ndarray) -> np.ndarray | None:
    """The upper triangle U with U^T U = M^-1, M damped; None where M is zero, or singular all the same."""
    mean = float(np.trace(moment)) / len(moment)
    if not mean > 0:
        return None
    damped = moment + DAMPING * mean * np.eye(len(moment))
    try:
        # M = L L^T of the reversed order gives the factor of the inverse without inverting: M = R R^T, R upper, U = R^-1.
        lower = scipy.linalg.cholesky(damped[::-1, ::-1], lower=True)
        return scipy.linalg.solve_triangular(lower[::-1, ::-1], np.eye(len(moment)), lower=False)
    except (np.linalg.LinAlgError, ValueError):
        return None


def _in_order(rows: np.ndarray, scales: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Weight after weight, from the first on; losses reach the weights of later blocks when a block is done."""
    rows, width = rows.copy(), rows.shape[1]
    rounded = np.empty(rows.shape, np.int8)
    for start in range(0, width, BLOCK):
        end = min(start + BLOCK, width)
        losses = np.empty((len(rows), end - start))
        for at in range(start, end):
            whole = np.clip(np.rint(rows[:, at : at + 1] / scales), -LARGEST, LARGEST)
            loss = (rows[:, at : at + 1] - whole * scales) / factor[at, at]
            rows[:, at + 1 : end] -= loss * factor[at, at + 1 : end]
            rounded[:, at], losses[:, at - start] = whole[:, 0], loss[:, 0]
        rows[:, end:] -= losses @ factor[start:end, end:]
    return rounded
