"""Weights of few values: how few, that 0 is one of them, and that no other choice of values errs less."""
import itertools

import numpy as np
import pytest
from tenfold.quantization import CLUSTERINGS, cluster


def error(weight, few) -> float:
    return float(np.square(weight - few, dtype=np.float64).sum())


@pytest.mark.parametrize("method", CLUSTERINGS)
@pytest.mark.parametrize("bits", [2, 4, 5, 8])
def test_so_many_values_at_the_most_and_zeros_stay(method, bits):
    weight = np.random.default_rng(bits).standard_normal((8, 4, 3, 3)).astype("float32")
    weight[0, 0] = 0
    few = cluster(weight, bits, method)
    assert few.shape == weight.shape and few.dtype == np.float32
    assert 2 ** (bits - 1) <= len(np.unique(few)) <= 2**bits and (few[0, 0] == 0).all()
    values = np.unique(few)
    np.testing.assert_array_equal(few, values[np.abs(weight[..., None] - values).argmin(axis=-1)])  # the nearest


def test_more_bits_err_less_and_kmeans_less_than_rounding():
    weight = np.random.default_rng(0).standard_normal(5000)
    errors = {method: [error(weight, cluster(weight, bits, method)) for bits in range(2, 9)] for method in CLUSTERINGS}
    for found in errors.values():
        assert all(later < 0.6 * earlier for earlier, later in itertools.pairwise(found))
    assert all(k < r for k, r in zip(errors["kmeans"], errors["round"], strict=True))


def test_rounding_is_to_a_grid():
    values = np.unique(cluster(np.random.default_rng(0).standard_normal(5000), 4, "round"))
    np.testing.assert_allclose(np.diff(values), values[-1] / 7, rtol=1e-5)
    assert len(values) == 15


def test_clusters_that_are_there_are_found():
    """Values that lie together in sixteen heaps."""
    rng = np.random.default_rng(0)
    heaps = 0.4 * np.arange(-8, 8) + rng.uniform(-0.1, 0.1, 16)
    heaps[8] = 0
    weight = rng.choice(heaps, 4000) + 1e-4 * rng.standard_normal(4000)
    assert error(weight, cluster(weight, 4)) < 4000 * 3e-8
    np.testing.assert_array_equal(cluster(heaps.astype("float32"), 4), heaps.astype("float32"))


def test_what_has_no_spread_and_what_is_refused():
    assert not cluster(np.zeros((2, 3)), 4).any()
    np.testing.assert_array_equal(cluster(np.full(9, 0.3, np.float32), 3, "kmeans"), np.full(9, 0.3, np.float32))
    for options, words in (((9,), "between 2 and 8, not 9"), ((4, "hash"), "'hash' is none of kmeans, round")):
        with pytest.raises(ValueError, match=words):
            cluster(np.ones(3), *options)
