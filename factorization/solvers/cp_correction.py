"""Error-preserving correction of a CP: terms of the least norm that fit the tensor as well.

Where a tensor has no best approximation of a rank, or a fit is on the way through a swamp, terms grow large and cancel each other:
rounding, quantization and training then see huge factors. Of all factors within the error that was reached, those are sought whose
rank-one terms have the least sum of squared norms:

    min sum_k |a_k|^2 |b_k|^2 |v_k|^2 |h_k|^2    subject to    |T - [[A, B, V, H]]|^2 <= the error before

Source: Phan, Tichavsky and Cichocki 2019, "Error preserving correction: a method for CP decomposition at a target error bound", applied
to convolutions by Phan et al. 2020, "Stable low-rank tensor decomposition for compression of convolutional neural network". With three
factors held fixed the fourth is a least squares problem with one quadratic constraint; its multiplier is the root of a falling function.
"""
from __future__ import annotations

import numpy as np

from .cp_als import MOST_WORK, Factors, accelerate, decompose, others, squared_error, squared_norms, sweep

SWEEPS = 20
LEAST_GAIN = 1e-3  # gain of a sweep, as a fraction of the sum of squared norms
_BOUND_SLACK = 1e-9  # of the bound, for rounding
_HALVINGS = 20  # of an interval of 45 powers of e: the multiplier to 4 digits, from the side that keeps the bound


def stable_cp(tensors: np.ndarray, rank: int) -> Factors:
    """`cp_als.decompose`, corrected."""
    work = 4 * rank * (tensors.size + 10 * len(tensors) * rank**2)  # of a sweep, the eigenvectors of four normal matrices with it
    return correct(tensors, decompose(tensors, rank), min(SWEEPS, int(MOST_WORK / work)))


def correct(tensors: np.ndarray, factors: Factors, sweeps: int = SWEEPS) -> Factors:
    """Factors of terms with smaller norms, the squared error of each tensor no larger than before.

    Parameters
    ----------
    tensors
        batch x F x C x Y x X, float64, each of squared norm 1 (or 0).
    factors
        As `cp_als.decompose` gives them.
    sweeps
        At most so many.
    """
    bound = squared_error(tensors, factors)
    norms = np.einsum("bfcyx,bfcyx->b", tensors, tensors)

    def step(start: Factors, cost: float) -> tuple[Factors, float]:
        after, errors = sweep(tensors, start, lambda mode, products, grams: _least_norm(mode, products, grams, norms, bound))
        kept = np.all(errors <= bound * (1 + _BOUND_SLACK) + 1e-15)
        return after, float(squared_norms(after).sum()) if kept else np.inf

    corrected = accelerate(step, factors, sweeps, LEAST_GAIN)
    return corrected if squared_norms(corrected).sum() < squared_norms(factors).sum() else factors


def sensitivity(factors: Factors) -> np.ndarray:
    """How much the composed tensor moves, in expected squared norm, when every entry of every factor moves by noise of variance 1.

    ``sum_n I_n trace(Hadamard product of the other factors' Gram matrices)``, to first order; Phan et al. 2020, section 3.

    Returns
    -------
    ndarray
        One number for each tensor of the batch.
    """
    squares = [np.square(factor).sum(1) for factor in factors]
    return sum(
        factor.shape[1] * np.prod([square for m, square in enumerate(squares) if m != mode], axis=0).sum(1)
        for mode, factor in enumerate(factors)
    )


def _least_norm(mode: int, products: np.ndarray, grams: Factors, norms: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """The factor of this mode that makes the terms smallest within the error bound, or the least error where that is above it."""
    normal = others(mode, grams)
    weight = np.einsum("bkk->bk", normal)
    root = np.sqrt(weight)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    # In the coordinates that scale each term to its norm: min |z|^2 with error(z) <= bound, diagonal in the eigenvectors.
    values, vectors = np.linalg.eigh(normal * inverse[:, :, None] * inverse[:, None])
    values = np.maximum(values, 0.0)
    rotated = (products * inverse[:, None]) @ vectors
    squares = np.square(rotated).sum(1)
    largest = np.maximum(values[:, -1:], 1e-300)
    floor = 1e-14 * largest

    def divisor(exponent: np.ndarray) -> np.ndarray:
        return values + largest * np.exp(exponent)[:, None] + floor

    low, high = np.full(len(norms), -40.0), np.full(len(norms), 5.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        divided = divisor(middle)
        above = norms - (squares / divided * (2 - values / divided)).sum(1) > bound
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (rotated / divisor(low)[:, None]) @ vectors.swapaxes(1, 2) * inverse[:, None]
