"""Canonical polyadic decomposition (CP) of four-way tensors by alternating least squares, many small tensors or one large one at a time.

    T[f,c,y,x] ~ sum_k A[f,k] B[c,k] V[y,k] H[x,k]

Each factor in turn is the best answer with the other three held fixed. Plain alternating least squares creeps for hundreds of sweeps
while pairs of terms grow against each other (degeneracy), so two things are added, and `cp_correction` follows:

- damping: a penalty on the squared norms of the rank-one terms that falls with the error, nothing where the fit is exact;
- Nesterov's extrapolation from sweep to sweep with restarts (Mitchell, Ye and De Sterck 2020, "Nesterov acceleration of alternating
  least squares for canonical tensor decomposition"), which reaches in 50 sweeps what 200 plain ones do not.

The start is deterministic and bounds the error: in the orthonormal bases of rows and of columns that the higher-order SVD gives, the
slice of each pair of basis vectors is an F x C matrix; of the singular triples of all slices, which are orthogonal rank-one terms, the
largest ``rank`` are taken. With all Y X min(F, C) of them the tensor is met exactly.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

Factors = list[np.ndarray]  # of the modes f, c, y, x: batch x extent x rank

DAMPING = 1e-4  # of the error: 1e-3 costs accuracy, below 1e-5 terms grow against each other
ZERO_ERROR = 1e-13  # squared relative error that float64 sums can't tell from zero
NOISE = 1e-3  # of the largest entry
LEAST_GAIN = 1e-5  # gain of a sweep, as a fraction of the cost, below which it has converged
_TERMS_AT_A_TIME = 64  # worked on at a time, so that what is between two contractions stays in the cache
MAX_SWEEPS, MIN_SWEEPS = 100, 5
MOST_WORK = 2e10  # multiply-accumulates for all sweeps together: some seconds


def decompose(tensors: np.ndarray, rank: int) -> Factors:
    """CP of each tensor of a batch, its error at most that of `initial_terms`.

    Parameters
    ----------
    tensors
        batch x F x C x Y x X, float64, each of squared norm 1 (or 0).
    rank
        From 1 to Y X min(F, C).

    Returns
    -------
    list of ndarray
        Four factors, float64, the norm of each rank-one term spread evenly over them.
    """
    start = balanced(initial_terms(tensors, rank))
    error = squared_error(tensors, start)
    if error.max() <= ZERO_ERROR:
        return start

    def step(factors: Factors, cost: float) -> tuple[Factors, float]:
        damping = DAMPING * min(cost / len(tensors), 1.0)
        after, errors = sweep(tensors, factors, lambda mode, products, grams: _least_squares(mode, products, grams, damping))
        return after, float(errors.sum() + damping * squared_norms(after).sum())

    # Fewer for large problems: their start is near already when the rank is high.
    work = 2 * rank * (tensors.size + len(tensors) * rank**2)  # of a sweep, with the solutions of four systems
    sweeps = int(np.clip(MOST_WORK / work, MIN_SWEEPS, MAX_SWEEPS))
    found = accelerate(step, _with_noise(start), sweeps, LEAST_GAIN)
    worse = squared_error(tensors, found) > error
    return [np.where(worse[:, None, None], old, new) for old, new in zip(start, found, strict=True)]


def initial_terms(tensors: np.ndarray, rank: int) -> Factors:
    """Orthogonal rank-one terms, those of the largest norm: the squared error is the sum of the squared norms of those left out."""
    batch, f, c, y, x = tensors.shape
    rows = _basis(np.moveaxis(tensors, 3, 1).reshape(batch, y, -1))
    columns = _basis(np.moveaxis(tensors, 4, 1).reshape(batch, x, -1))
    slices = np.einsum("bfcyx,byi,bxj->bijfc", tensors, rows, columns, optimize=True).reshape(batch, y * x, f, c)
    wide = f < c
    slices = slices.swapaxes(2, 3) if wide else slices
    short = _basis(slices.swapaxes(2, 3))
    long = slices @ short  # its columns carry the singular values
    norms = np.linalg.norm(long, axis=2).reshape(batch, -1)
    chosen = np.argsort(-norms, axis=1, kind="stable")[:, :rank]
    pair, term = np.divmod(chosen, short.shape[-1])
    every = np.arange(batch)[:, None]
    ends = [vectors[every, pair, :, term].swapaxes(1, 2) for vectors in (long, short)]
    return [*(ends[::-1] if wide else ends), rows[every, :, pair // x].swapaxes(1, 2), columns[every, :, pair % x].swapaxes(1, 2)]


def sweep(
    tensors: np.ndarray, factors: Factors, update: Callable[[int, np.ndarray, Factors], np.ndarray]
) -> tuple[Factors, np.ndarray]:
    """Renew the four factors one after the other.

    Parameters
    ----------
    update
        From the mode, the tensor contracted with the other three factors (batch x extent x rank) and the Gram matrices of all
        factors, the new factor.

    Returns
    -------
    factors, error
        And the squared error of each tensor of squared norm 1.
    """
    batch, f, c, y, x = tensors.shape
    factors, grams, unfolded = list(factors), [gram(factor) for factor in factors], tensors.reshape(batch, f, -1)
    blocks = [slice(start, start + _TERMS_AT_A_TIME) for start in range(0, factors[0].shape[2], _TERMS_AT_A_TIME)]

    def renew(mode: int, products: list[np.ndarray]) -> None:
        factors[mode] = update(mode, np.concatenate(products, axis=2), grams)
        grams[mode] = gram(factors[mode])

    def of(mode: int, block: slice) -> np.ndarray:
        return factors[mode][:, :, block]

    kernels = [(of(2, block)[:, :, None] * of(3, block)[:, None]).reshape(batch, y * x, -1) for block in blocks]
    renew(0, [
        unfolded @ (of(1, block)[:, :, None] * kernel[:, None]).reshape(batch, c * y * x, -1)
        for block, kernel in zip(blocks, kernels, strict=True)
    ])
    filtered = [(unfolded.swapaxes(1, 2) @ of(0, block)).reshape(batch, c, y * x, -1) for block in blocks]
    renew(1, [np.einsum("bcpk,bpk->bck", part, kernel) for part, kernel in zip(filtered, kernels, strict=True)])
    planes = [
        np.einsum("bcpk,bck->bpk", part, of(1, block)).reshape(batch, y, x, -1) for part, block in zip(filtered, blocks, strict=True)
    ]
    renew(2, [np.einsum("byxk,bxk->byk", plane, of(3, block)) for plane, block in zip(planes, blocks, strict=True)])
    last = [np.einsum("byxk,byk->bxk", plane, of(2, block)) for plane, block in zip(planes, blocks, strict=True)]
    renew(3, last)
    norms = np.einsum("bfcyx,bfcyx->b", tensors, tensors)
    inner = np.einsum("bxk,bxk->b", np.concatenate(last, axis=2), factors[3])
    return factors, norms - 2 * inner + (others(3, grams) * grams[3]).sum((1, 2))


def accelerate(step: Callable[[Factors, float], tuple[Factors, float]], factors: Factors, sweeps: int, settled: float) -> Factors:
    """Repeat ``step`` from points extrapolated along the last move; from the last point itself where that did not pay.

    Parameters
    ----------
    step
        From factors and the last cost, better factors and their cost.
    sweeps
        At most so many.
    settled
        Fraction of the cost; a smaller gain of a step that was not extrapolated ends it.
    """
    before = now = balanced(factors)
    cost, age = np.inf, 0
    for _ in range(sweeps):
        reach = age / (age + 3)
        after, price = step([new + reach * (new - old) for new, old in zip(now, before, strict=True)], cost)
        if not price < cost:
            age = 0
            after, price = step(now, cost)
            if not price < cost:
                break
        small = cost - price <= settled * price
        before, now, cost, age = now, balanced(after), price, age + 1
        if small or price <= ZERO_ERROR:
            break
    return now


def balanced(factors: Factors) -> Factors:
    """Spread the norm of each term evenly over its four vectors."""
    norms = [np.linalg.norm(factor, axis=1, keepdims=True) for factor in factors]
    share = np.sqrt(np.sqrt(np.prod(norms, axis=0)))
    return [factor * np.divide(share, norm, out=np.zeros_like(norm), where=norm > 0) for factor, norm in zip(factors, norms, strict=True)]


def gram(factor: np.ndarray) -> np.ndarray:
    """Inner products of the columns: batch x rank x rank."""
    return factor.swapaxes(1, 2) @ factor


def others(mode: int, grams: Factors) -> np.ndarray:
    """The elementwise product of the Gram matrices of all factors but one: the normal matrix of that one."""
    first, second, third = (matrix for m, matrix in enumerate(grams) if m != mode)
    return first * second * third


def squared_norms(factors: Factors) -> np.ndarray:
    """Squared norm of each rank-one term: batch x rank."""
    return np.prod([np.square(factor).sum(1) for factor in factors], axis=0)


def compose(factors: Factors) -> np.ndarray:
    """The tensors that the factors make: batch x F x C x Y x X."""
    outputs, inputs, rows, columns = factors
    rest = inputs[:, :, None, None] * rows[:, None, :, None] * columns[:, None, None]
    whole = outputs @ rest.reshape(len(rest), -1, rest.shape[-1]).swapaxes(1, 2)
    return whole.reshape(len(rest), -1, *rest.shape[1:4])


def squared_error(tensors: np.ndarray, factors: Factors) -> np.ndarray:
    """Squared distance of each tensor of the batch from what its factors make."""
    difference = tensors - compose(factors)
    return np.einsum("bfcyx,bfcyx->b", difference, difference)


def _with_noise(factors: Factors) -> Factors:
    """Add noise, the same each time. The orthogonal start of a tensor with symmetries may be a saddle that no sweep leaves."""
    rng = np.random.default_rng(0)
    return [factor + NOISE * np.abs(factor).max() * rng.standard_normal(factor.shape) for factor in factors]


def _least_squares(mode: int, products: np.ndarray, grams: Factors, damping: float) -> np.ndarray:
    normal = others(mode, grams)
    weight = np.einsum("bkk->bk", normal)  # the squared norms of the terms, as this factor weighs in them
    ridge = damping * weight + 1e-14 * weight.max(1, keepdims=True) + 1e-40  # the last two: a term of zeros is not a singular matrix
    np.einsum("bkk->bk", normal)[...] += ridge
    return np.linalg.solve(normal, products.swapaxes(1, 2)).swapaxes(1, 2)


def _basis(matrices: np.ndarray) -> np.ndarray:
    """The left singular vectors of each matrix of a stack, those of the largest singular values first, in columns."""
    vectors = np.linalg.eigh(matrices @ matrices.swapaxes(-1, -2))[1][..., ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(-2)[..., None, :], -2)
    return vectors * np.where(largest < 0, -1.0, 1.0)
