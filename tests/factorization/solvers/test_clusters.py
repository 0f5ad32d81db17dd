"""Balanced subspace clusters against ground truths, exhaustive search and NumPy's SVD."""
from itertools import permutations

import numpy as np
import pytest
from factor_reference import PROPERTY
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization.solvers.clusters import _alternate, balanced_assignment, subspace_clusters, subspace_distances

SEEDS = st.integers(0, 2**32 - 1)


def _as_sets(clusters):
    return {frozenset(members.tolist()) for members in clusters}


def _grouped(rng, count, size, dimension, length, noise):
    """Vectors in clusters, each in a subspace of its own, orthogonal to the others; and which are together."""
    basis = np.linalg.qr(rng.standard_normal((length, count * dimension)))[0].T.reshape(count, dimension, length)
    clusters = rng.permutation(count * size).reshape(count, size)
    vectors = np.empty((count * size, length))
    for members, subspace in zip(clusters, basis, strict=True):
        coordinates = rng.standard_normal((size, dimension))
        coordinates /= np.linalg.norm(coordinates, axis=1, keepdims=True)
        vectors[members] = rng.uniform(0.5, 2, (size, 1)) * (coordinates @ subspace)
    return vectors + noise / np.sqrt(length) * rng.standard_normal(vectors.shape), clusters


@PROPERTY
@given(
    count=st.integers(2, 6), size=st.integers(2, 9), dimension=st.integers(1, 5), noise=st.sampled_from([0, 0.1]), seed=SEEDS,
)
def test_well_separated_clusters_are_found(count, size, dimension, noise, seed):
    dimension = min(dimension, size - 1)
    vectors, truth = _grouped(np.random.default_rng(seed), count, size, dimension, 40 * count, noise)
    assert _as_sets(subspace_clusters(vectors @ vectors.T, count)) == _as_sets(truth)


@PROPERTY
@given(count=st.integers(1, 6), size=st.integers(1, 6), length=st.integers(1, 20), seed=SEEDS)
def test_clusters_are_equal_ordered_and_repeatable(count, size, length, seed):
    vectors = np.random.default_rng(seed).standard_normal((count * size, length))
    clusters = subspace_clusters(vectors @ vectors.T, count)
    assert clusters.shape == (count, size)
    assert sorted(clusters.ravel()) == list(range(count * size))
    assert np.all(np.diff(clusters, axis=1) > 0) and np.all(np.diff(clusters[:, 0]) > 0)
    np.testing.assert_array_equal(clusters, subspace_clusters(vectors @ vectors.T, count))


def test_zero_vectors_are_clustered():
    assert subspace_clusters(np.zeros((6, 6)), 3).shape == (3, 2)
    vectors = np.zeros((6, 4))
    vectors[[1, 4]], vectors[[0, 2]] = [1, 0, 0, 0], [0, 1, 0, 0]
    assert _as_sets(subspace_clusters(vectors @ vectors.T, 3)) == {frozenset(pair) for pair in ((1, 4), (0, 2), (3, 5))}


@pytest.mark.parametrize("count", [0, 4, 12])
def test_clusters_that_do_not_divide_the_vectors(count):
    with pytest.raises(ValueError, match=f"6 vectors do not divide into {count} clusters of equal size"):
        subspace_clusters(np.eye(6), count)


@PROPERTY
@given(shape=st.sampled_from([(4, 2), (6, 2), (6, 3), (6, 6)]), seed=SEEDS)
def test_the_assignment_is_the_cheapest_of_all(shape, seed):
    n, count = shape
    cost = np.random.default_rng(seed).random(shape)
    labels = balanced_assignment(cost)
    assert np.all(np.bincount(labels, minlength=count) == n // count)
    slots = np.arange(n) // (n // count)
    cheapest = min(cost[np.arange(n), slots[list(order)]].sum() for order in permutations(range(n)))
    assert cost[np.arange(n), labels].sum() == pytest.approx(cheapest)


@PROPERTY
@given(n=st.integers(3, 9), length=st.integers(1, 12), data=st.data(), seed=SEEDS)
def test_distances_are_those_from_the_leading_singular_vectors(n, length, data, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, length))
    members = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=2))))
    dimension = data.draw(st.integers(1, len(members) - 1))
    basis = np.linalg.svd(vectors[members], full_matrices=False)[2][:dimension]
    expected = np.square(vectors - vectors @ basis.T @ basis).sum(axis=1)
    found = subspace_distances(vectors @ vectors.T, np.stack([members, members[::-1]]), dimension)
    np.testing.assert_allclose(found, np.stack([expected] * 2, axis=1), atol=1e-9 * np.square(vectors).sum())


@PROPERTY
@given(count=st.integers(2, 4), size=st.integers(2, 6), dimension=st.integers(1, 3), seed=SEEDS)
def test_alternating_ends_where_no_assignment_is_better(count, size, dimension, seed):
    rng = np.random.default_rng(seed)
    vectors, dimension = rng.standard_normal((count * size, 7)), min(dimension, size - 1)
    gram, start = vectors @ vectors.T, rng.permutation(np.arange(count * size) // size)

    def cost(labels):
        return subspace_distances(gram, np.stack([np.flatnonzero(labels == k) for k in range(count)]), dimension)

    def total(labels):
        return cost(labels)[np.arange(len(labels)), labels].sum()

    end = _alternate(gram, count, dimension, start)
    best = balanced_assignment(cost(end))
    assert total(end) <= total(start) + 1e-9
    assert total(end) <= cost(end)[np.arange(len(end)), best].sum() + 1e-9 * np.trace(gram)
