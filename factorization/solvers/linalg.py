"""Singular values and vectors through the Gram matrix of the shorter side, in float64.

Why not an SVD of the matrix: for the 4096 x 9216 matrix of a fully connected layer the 4096 x 4096 Gram matrix and its
eigenvectors in float64 took 40 % of the time of LAPACK's float32 SVD (gesdd). Squaring loses singular values below about 1e-8 of
the largest (the root of float64's precision). Weights are float32 and hold nothing below 6e-8 of their largest, so
nothing is lost that was there.
"""
from __future__ import annotations

import numpy as np
import scipy.linalg

from ..metrics import Covariance, Metric

DAMPING = 1e-3  # of the mean of a normal matrix's diagonal
_BLOCK_COLUMNS = 4096  # columns converted to float64 at a time, so that a large matrix is never held twice
_TIE_BREAKER = 1e-9  # part of the mean variance that decides between directions that no data shows
_ROUNDING = float(np.finfo(np.float32).eps) ** 2  # the part of the energy that float32 weights can't tell from zero


def gram(matrix: np.ndarray) -> np.ndarray:
    """``matrix @ matrix.T`` in float64."""
    total = np.zeros((matrix.shape[0], matrix.shape[0]))
    for start in range(0, matrix.shape[1], _BLOCK_COLUMNS):
        block = matrix[:, start : start + _BLOCK_COLUMNS].astype(np.float64)
        total += block @ block.T
    return total


def squared_singular_values(matrix: np.ndarray) -> np.ndarray:
    """Squares of all min(m, n) singular values of an m x n matrix, falling, float64."""
    rows, columns = matrix.shape
    values = scipy.linalg.eigvalsh(gram(matrix if rows <= columns else matrix.T))
    return np.maximum(values[::-1], 0.0)  # rounding may turn a zero eigenvalue of a Gram matrix negative


def leading_vectors(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The ``rank`` left singular vectors of the largest singular values, as the columns of an m x rank matrix, float64.

    The entry of largest magnitude of each is positive: singular vectors have no sign of their own.
    """
    return _leading(gram(matrix), rank)


def _leading(symmetric: np.ndarray, rank: int) -> np.ndarray:
    """The eigenvectors of the largest eigenvalues, the entry of largest magnitude of each positive."""
    vectors = scipy.linalg.eigh(symmetric, driver="evd")[1][:, ::-1][:, :rank]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(rank)]
    return vectors * np.where(largest < 0, -1.0, 1.0)


def truncated_svd(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation ``left @ right`` of a given rank in the Frobenius norm (Eckart-Young).

    Parameters
    ----------
    matrix
        m x n.
    rank
        From 1 to min(m, n).

    Returns
    -------
    left, right
        m x rank and rank x n, float64. Each carries the root of the singular values, which keeps the weights of two
        stages in the same range.
    """
    if matrix.shape[0] > matrix.shape[1]:
        right, left = truncated_svd(matrix.T, rank)
        return left.T, right.T
    return _balanced(leading_vectors(matrix, rank), matrix)


def whitened_svd(matrix: np.ndarray, moment: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation ``left @ right`` of a given rank in the covariance metric ``||(A - left @ right) S^(1/2)||``.

    With A S^(1/2) = U s V^T the best is U_r U_r^T A: only the left singular vectors of A S^(1/2) are needed, which are the eigenvectors
    of A S A^T, and no root or inverse of S. A trace of the identity in S decides where S is singular.

    Parameters
    ----------
    matrix
        A, m x n.
    moment
        S, n x n, symmetric and not negative.
    rank
        From 1 to min(m, n).

    Returns
    -------
    left, right
        As of `truncated_svd`.
    """
    matrix = matrix.astype(np.float64)
    responses = matrix @ moment @ matrix.T + _TIE_BREAKER * np.trace(moment) / len(moment) * gram(matrix)
    return _balanced(_leading((responses + responses.T) / 2, rank), matrix)


def best_product(matrix: np.ndarray, rank: int, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """`truncated_svd`, or in the covariance metric `whitened_svd`.

    Parameters
    ----------
    matrix : ndarray, m x n
    rank : int
    metric : Metric
        Plain SVD, or whitened in the covariance metric.
    """
    return whitened_svd(matrix, metric.moment, rank) if isinstance(metric, Covariance) else truncated_svd(matrix, rank)


def _balanced(vectors: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The projection of a matrix on orthonormal ``vectors`` as two factors of the same range."""
    projected = vectors.T @ matrix.astype(np.float64)
    root = np.sqrt(np.linalg.norm(projected, axis=1))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    return vectors * root, projected * inverse[:, None]


def smallest_rank(squared: np.ndarray, energy: float) -> int:
    """The fewest leading singular values that hold the fraction ``energy`` of the sum of all squares, at least 1.

    What rounding to float32 leaves of a zero singular value is not counted as lost: at energy 1 a matrix of exact rank r gives r.
    """
    squared = np.asarray(squared, np.float64)
    lost = np.append(np.cumsum(squared[::-1])[::-1], 0.0)  # lost[r]: the sum of squares behind the first r, smallest added first
    allowed = (1.0 - energy + _ROUNDING) * lost[0]
    return max(1, int(np.argmax(lost <= allowed)))


def damped(normal: np.ndarray) -> np.ndarray:
    """A normal matrix, or n of them, made safely positive definite, for steps of least squares from where one is.

    What the data hardly shows is left where it was. A step that is shorter for it still goes downhill.
    """
    identity = np.eye(normal.shape[-1])
    size = DAMPING * np.trace(normal, axis1=-2, axis2=-1)[..., None, None] / len(identity)
    return normal + np.where(size > 0, size, 1.0) * identity
