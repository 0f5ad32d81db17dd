"""Weights of a few values: each stands for the nearest of a layer's 2^bits, one of which is 0, and is kept as its index.

`kmeans`   the values with the least squared error (Lloyd's algorithm, in one dimension)
`round`    evenly spaced values, whole numbers of one step, the largest weights saturating where that errs less

Çallı 2017, 2.2.2; the first as Nowlan and Hinton 1992 and Han et al. 2015 do it after training.
"""
from __future__ import annotations

import numpy as np

CLUSTERINGS = ("kmeans", "round")
FEWEST_BITS, MOST_BITS = 2, 8
ROUNDS = 100  # of Lloyd's algorithm, at the most
BINS = 1024  # of the histogram that values begin from
RATIOS = np.linspace(0.3, 1, 71)  # of the largest magnitude that the largest value of `round` is tried at


def cluster(weight: np.ndarray, bits: int, method: str = "kmeans") -> np.ndarray:
    """The weight with each number replaced by the nearest of its values.

    Parameters
    ----------
    weight : ndarray
    bits : int
        From 2 to 8.
    method : str
        Of `CLUSTERINGS`.

    Returns
    -------
    ndarray
        float32, of at most 2^bits values; 0 is one that may be in it.
    """
    if method not in CLUSTERINGS:
        raise ValueError(f"method {method!r} is none of {', '.join(CLUSTERINGS)}")
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"bits must be between {FEWEST_BITS} and {MOST_BITS}, not {bits}")
    flat = np.asarray(weight, np.float64).ravel()
    if not flat.any():
        return np.zeros(weight.shape, np.float32)
    values = _centres(flat, 2**bits) if method == "kmeans" else _grid(flat, 2 ** (bits - 1) - 1)
    values = np.unique(values.astype(np.float32))
    return values[_nearest(flat, values.astype(np.float64))].reshape(weight.shape)


def _nearest(flat: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices of rising values."""
    return np.searchsorted((values[1:] + values[:-1]) / 2, flat)


def _grid(flat: np.ndarray, levels: int) -> np.ndarray:
    whole = np.arange(-levels, levels + 1)
    steps = RATIOS * np.abs(flat).max() / levels
    errors = [np.square(np.clip(np.rint(flat / step), -levels, levels) * step - flat).sum() for step in steps]
    return whole * steps[int(np.argmin(errors))]


def _centres(flat: np.ndarray, count: int) -> np.ndarray:
    """Lloyd's algorithm, from values as dense as the cube root of the weights' density (Panter and Dite 1951).

    The one nearest to 0 stays 0.
    """
    ordered = np.sort(flat)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    density, edges = np.histogram(ordered, BINS)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    values = np.interp((np.arange(count) + 0.5) / count * share[-1], share, edges)
    values[np.abs(values).argmin()] = 0.0
    for _ in range(ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(ordered, (values[1:] + values[:-1]) / 2), [len(ordered)]])
        sizes = np.diff(ends)
        means = np.divide(np.diff(sums[ends]), sizes, out=values.copy(), where=sizes > 0)
        means[values == 0] = 0.0
        means.sort()
        if np.array_equal(means, values):
            break
        values = means
    return values
