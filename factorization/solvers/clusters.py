"""Equal-sized clusters of vectors, each cluster near a subspace of few dimensions of its own.

Source: Denton et al. 2014, section 3.4: k-means "which balances the cluster count at each iteration", with "a subspace projection
distance" in the place of the Euclidean one. An iteration puts a subspace through every cluster (its leading principal directions) and
then assigns all vectors at once, at the least total distance that keeps the clusters equal (a linear assignment problem).

The paper names neither the start nor the dimension. Both matter more than the iterations do, so several are tried: a spectral start,
a random one, and dimensions in powers of two. Their distances can't be compared with each other; what is compared is the sum of the nuclear
norms of the clusters, which knows no dimension, and whose least value is reached where the clusters are orthogonal to each other.
Everything is computed on the Gram matrix: the length of the vectors does not matter.
"""
from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.optimize import linear_sum_assignment

MAX_ITERATIONS = 50  # trained weights take two to ten
DIMENSIONS = (1, 2, 4, 8)  # of subspaces; trained weights are grouped best at 2 to 8
_ROUNDING = 1e-12  # gains and eigenvalues below this part of the whole are rounding


def subspace_clusters(gram: np.ndarray, count: int, dimensions: tuple[int, ...] = DIMENSIONS, seed: int = 0) -> np.ndarray:
    """Partition vectors into clusters of equal size, each as near as can be to a subspace of its own.

    Parameters
    ----------
    gram
        n x n, float64: the inner products of the vectors.
    count
        Of clusters; it divides n.
    dimensions
        Of the subspaces; tried in turn, those that a cluster would fill are left out.
    seed
        Of the random start.

    Returns
    -------
    ndarray
        count x (n / count) int: the members of each cluster, rising; the clusters in the order of their first members.
        The same input gives the same clusters.

    Raises
    ------
    ValueError
        When the vectors do not divide into so many clusters.
    """
    n = len(gram)
    if count < 1 or n % count:
        raise ValueError(f"{n} vectors do not divide into {count} clusters of equal size")
    size = n // count
    if count == 1 or size == 1:
        return np.arange(n).reshape(count, size)
    starts = (_spectral_start(gram, count), np.random.default_rng(seed).permutation(np.arange(n) // size))
    found = []
    for dimension in sorted({min(d, size - 1) for d in dimensions}):
        found += [_alternate(gram, count, dimension, start) for start in starts]
    best = min((_members(labels, count) for labels in found), key=lambda members: _nuclear_norms(gram, members))
    return best[np.argsort(best[:, 0])]


def balanced_assignment(cost: np.ndarray) -> np.ndarray:
    """The cluster of each of n items, (n,) int, at the least total of ``cost``, n x clusters, with equally many items in each."""
    size = len(cost) // cost.shape[1]
    return linear_sum_assignment(np.repeat(cost, size, axis=1))[1] // size


def subspace_distances(gram: np.ndarray, members: np.ndarray, dimension: int) -> np.ndarray:
    """Squared distances of all n vectors from the best subspace of this dimension through each of some clusters.

    Parameters
    ----------
    gram
        n x n.
    members
        Clusters x their size, int.
    dimension
        Below the size.

    Returns
    -------
    ndarray
        n x clusters.
    """
    values, vectors = np.linalg.eigh(_among(gram, members))
    values, vectors = values[:, None, -dimension:], vectors[:, :, -dimension:]
    floor = np.maximum(_ROUNDING * values[:, :, -1:], np.finfo(float).tiny)
    basis = vectors * np.where(values > floor, 1 / np.sqrt(np.maximum(values, floor)), 0.0)
    kept = np.square(np.matmul(gram[members].transpose(0, 2, 1), basis)).sum(axis=2)
    return np.maximum(np.diag(gram)[:, None] - kept.T, 0.0)


def _alternate(gram: np.ndarray, count: int, dimension: int, labels: np.ndarray) -> np.ndarray:
    """Subspaces through the clusters, clusters around the subspaces, until the total distance falls no more."""
    everyone, total = np.arange(len(gram)), np.inf
    for _ in range(MAX_ITERATIONS):
        cost = subspace_distances(gram, _members(labels, count), dimension)
        before, total = total, cost[everyone, labels].sum()
        if before - total <= _ROUNDING * np.trace(gram):
            break
        labels = balanced_assignment(cost)
    return labels


def _spectral_start(gram: np.ndarray, count: int) -> np.ndarray:
    """Clusters of the graph of squared cosines: leading eigenvectors, and a pivoted QR factorization that turns them to the clusters.

    Source: Damle, Minden and Ying 2019, "Simple, direct and efficient multi-way spectral clustering", Information and Inference 8(1).
    """
    n = len(gram)
    lengths = np.sqrt(np.maximum(np.diag(gram), 0.0))
    inverse = np.divide(1.0, lengths, out=np.zeros(n), where=lengths > _ROUNDING * lengths.max(initial=0.0))
    similar = np.square(gram * inverse[:, None] * inverse)
    similar[np.diag_indices(n)] = 1.0  # of a zero vector too: it is like itself alone
    degrees = np.sqrt(similar.sum(axis=1))
    vectors = scipy.linalg.eigh(similar / degrees[:, None] / degrees, subset_by_index=(n - count, n - 1))[1]
    chosen = scipy.linalg.qr(vectors.T, mode="r", pivoting=True)[1][:count]
    left, _, right = np.linalg.svd(vectors[chosen].T)
    return balanced_assignment(-np.abs(vectors @ (left @ right)))


def _nuclear_norms(gram: np.ndarray, members: np.ndarray) -> float:
    """The sum over the clusters of the sums of their singular values."""
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(_among(gram, members)), 0.0)).sum())


def _among(gram: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The Gram matrix of each cluster."""
    return gram[members[:, :, None], members[:, None, :]]


def _members(labels: np.ndarray, count: int) -> np.ndarray:
    """Count x size, in the order of the labels."""
    return np.argsort(labels, kind="stable").reshape(count, -1)
