"""Sums of outer products of three vectors near a 3-tensor: a greedy algorithm, with alternating least squares after every term.

Source: Denton et al. 2014, section 3.2.2, equations 4 and 5: the term that is nearest to what is left (alternating least squares), then
what that leaves, K times. Terms found so were right for what was left then; here all are fitted again as their number grows. The terms for
K continue those for K - 1, so the error never grows with K.
"""
from __future__ import annotations

import numpy as np

TERM_SWEEPS = 2  # of alternating least squares on a new term by itself
SWEEP_INTERVAL = 32  # all terms are fitted after each of the first 31, then after every second of as many, and so on
MAX_SWEEPS = 50  # on all terms; trained weights take two to five
LEAST_GAIN = 0.01  # of the squared error: a sweep that takes off less is the last
PROXIMITY = 1e-9  # of the mean of a normal matrix's diagonal: keeps terms that cancel each other from growing without bound

Terms = tuple[np.ndarray, np.ndarray, np.ndarray]


def outer_products(tensors: np.ndarray, rank: int) -> Terms:
    """Find a[k], b[k], c[k] with ``tensors[n,i,j,l] ~ sum_k a[n,i,k] b[n,j,k] c[n,l,k]``.

    Parameters
    ----------
    tensors
        n x I x J x L, float64: n tensors, each by itself.
    rank
        Terms for each.

    Returns
    -------
    a, b, c
        n x I x K, n x J x K, n x L x K, float64. The three vectors of a term have the same length.
    """
    folded = tuple(np.ascontiguousarray(np.moveaxis(tensors, mode, 1)).reshape(len(tensors), tensors.shape[mode], -1) for mode in (1, 2, 3))
    a, b, c = (np.zeros((len(tensors), size, 0)) for size in tensors.shape[1:])
    terms: Terms = a, b, c
    norm = float(np.vdot(tensors, tensors))
    for count in range(1, rank + 1):
        left = tensors - np.matmul(terms[0], products(terms[1], terms[2])).reshape(tensors.shape)
        a, b, c = (np.concatenate(pair, axis=2) for pair in zip(terms, nearest_term(left), strict=True))
        terms = a, b, c
        error = float(np.vdot(left, left))
        for _ in range(MAX_SWEEPS if count % (count // SWEEP_INTERVAL + 1) == 0 else 0):
            before = error
            terms, error = _sweep(folded, terms, norm)
            if error >= (1 - LEAST_GAIN) * before:
                break
    return _balanced(terms)


def nearest_term(tensors: np.ndarray) -> Terms:
    """The outer product nearest to each of n x I x J x L by itself (equation 4); the last vector carries its size.

    The start are the leading singular vectors of what is folded, mode after mode.
    """
    count, rows, columns, depth = tensors.shape
    flat = tensors.reshape(count, rows, -1)
    a = np.linalg.eigh(flat @ flat.transpose(0, 2, 1))[1][:, :, -1:]
    sheet = (a.transpose(0, 2, 1) @ flat).reshape(count, columns, depth)
    b = np.linalg.eigh(sheet @ sheet.transpose(0, 2, 1))[1][:, :, -1:]
    for _ in range(TERM_SWEEPS):
        along = np.matmul(tensors, (sheet.transpose(0, 2, 1) @ b)[:, None])[..., 0]  # n x I x J: c taken out
        a = _unit(along @ b)
        b = _unit(along.transpose(0, 2, 1) @ a)
        sheet = (a.transpose(0, 2, 1) @ flat).reshape(count, columns, depth)
    return a, b, sheet.transpose(0, 2, 1) @ b


def products(b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Outer product of each pair of columns: n x K x (J L)."""
    pairs = np.matmul(b.transpose(0, 2, 1)[..., None], c.transpose(0, 2, 1)[:, :, None])
    return pairs.reshape(len(b), b.shape[2], b.shape[1] * c.shape[1])


def _sweep(folded: tuple[np.ndarray, ...], terms: Terms, norm: float) -> tuple[Terms, float]:
    """Solve each factor in turn by least squares, while the other two are held. Return the squared error, out of ``norm``, as well."""
    factors = list(terms)
    for mode in range(3):
        first, second = (factors[m] for m in range(3) if m != mode)
        normal = (first.transpose(0, 2, 1) @ first) * (second.transpose(0, 2, 1) @ second)
        right = np.matmul(folded[mode], products(first, second).transpose(0, 2, 1))
        size = PROXIMITY * np.trace(normal, axis1=1, axis2=2)[:, None, None] / normal.shape[1] + np.finfo(float).tiny
        change = np.linalg.solve(normal + size * np.eye(normal.shape[1]), (right - factors[mode] @ normal).transpose(0, 2, 1))
        factors[mode] = factors[mode] + change.transpose(0, 2, 1)
    error = norm + np.vdot(factors[2] @ normal - 2 * right, factors[2])
    return (factors[0], factors[1], factors[2]), float(error)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _balanced(terms: Terms) -> Terms:
    """Spread the size of each term evenly over its three vectors."""
    lengths = [np.linalg.norm(factor, axis=1, keepdims=True) for factor in terms]
    root = np.cbrt(lengths[0] * lengths[1] * lengths[2])
    return tuple(
        factor * np.divide(root, length, out=np.zeros_like(root), where=length > 0) for factor, length in zip(terms, lengths, strict=True)
    )
