"""Weights before factoring: what is pruned, rounded, clustered, and what that does to the rank."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.cluster.vq import kmeans2
from tenfold.factorization import cluster_weights, prune_connections, round_weights
from tenfold.factorization.solvers.linalg import squared_singular_values

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True)
WEIGHTS = hnp.arrays(np.float32, st.sampled_from([(7,), (4, 5), (3, 2, 3, 3)]), elements=st.floats(-8, 8, width=32))


@PROPERTY
@given(weight=WEIGHTS, deviations=st.floats(0, 3))
def test_pruning_keeps_large_weights_and_zeroes_small_ones(weight, deviations):
    before, pruned = weight.copy(), prune_connections(weight, deviations)
    assert pruned.dtype == np.float32 and pruned.shape == weight.shape
    np.testing.assert_array_equal(weight, before)
    kept = pruned != 0
    np.testing.assert_array_equal(pruned[kept], weight[kept])
    threshold = abs(np.mean(weight, dtype=float)) + deviations * np.std(weight, dtype=float)
    assert np.all(np.abs(weight[kept]) >= threshold) and np.all(np.abs(weight[~kept]) <= threshold)


def test_each_layer_has_its_own_threshold():
    """The same weights on another scale lose the same connections: of a normal distribution, a fifth within a quarter of a deviation."""
    weight = np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)
    pruned = prune_connections(weight)
    np.testing.assert_array_equal(prune_connections(weight * np.float32(1 / 64)), pruned * np.float32(1 / 64))
    assert np.mean(pruned == 0) == pytest.approx(0.1974, abs=0.02)
    with pytest.raises(ValueError, match="at least 0 was expected"):
        prune_connections(weight, -1)


def test_rounding_after_the_second_decimal():
    weight = np.float32([[0.004, 0.006], [-1.239, 2.5]])
    np.testing.assert_array_equal(round_weights(weight), np.float32([[0, 0.01], [-1.24, 2.5]]))
    np.testing.assert_array_equal(round_weights(weight, 0), np.float32([[0, 0], [-1, 2]]))


@PROPERTY
@given(weight=WEIGHTS, count=st.integers(1, 6))
def test_clusters_are_a_fixed_point_of_k_means(weight, count):
    clustered = cluster_weights(weight, count)
    centres = np.unique(clustered)
    assert len(centres) <= count and clustered.dtype == np.float32 and clustered.shape == weight.shape
    distance = np.abs(weight[..., None].astype(float) - centres)
    np.testing.assert_allclose(np.abs(weight - clustered), distance.min(-1), atol=1e-5)  # the nearest
    for centre in centres:
        assert centre == pytest.approx(weight[clustered == centre].mean(dtype=float), abs=1e-5)  # the mean
    np.testing.assert_array_equal(cluster_weights(weight, count), clustered)


def test_clusters_are_as_good_as_scipys():
    values = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    ours = np.mean((values - cluster_weights(values, 16)) ** 2)
    centres, labels = kmeans2(values.reshape(-1, 1).astype(float), 16, iter=300, minit="++", seed=0)
    assert ours <= 1.05 * np.mean((values.ravel() - centres[labels, 0]) ** 2)
    np.testing.assert_array_equal(cluster_weights(np.float32([[1, 2], [3, 1]]), 9), [[1, 2], [3, 1]])
    with pytest.raises(ValueError, match="at least 1"):
        cluster_weights(values, 0)


def test_a_low_rank_that_noise_hid_comes_back():
    """What the thesis hopes for, where it does hold: few values, and noise below half their distance.

    Two means are not quite opposite numbers: of a matrix of signs they make signs and a constant, of rank 2.
    """
    rng = np.random.default_rng(0)
    signal = np.outer(rng.choice([-1.0, 1.0], 40), rng.choice([-1.0, 1.0], 30))
    noisy = (signal + 0.1 * rng.standard_normal(signal.shape)).astype(np.float32)
    assert squared_singular_values(noisy)[-1] > 1e-6 * signal.size
    for simpler, rank in ((round_weights(noisy, 0), 1), (cluster_weights(noisy, 2), 2)):
        squared = squared_singular_values(simpler)
        assert squared[rank] < 1e-12 * squared[0]
