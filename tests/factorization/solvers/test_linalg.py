"""The Gram matrix route against NumPy's SVD, where it is at its weakest: wide ranges, deficient ranks, blocks."""
import numpy as np
import pytest
from tenfold.factorization.solvers import linalg


@pytest.mark.parametrize("shape", [(20, 35), (35, 20), (7, 7), (1, 5), (5, 1)])
def test_truncated_svd_is_numpys(shape):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    for rank in range(1, min(shape) + 1):
        left, right = linalg.truncated_svd(matrix, rank)
        assert left.shape == (shape[0], rank) and right.shape == (rank, shape[1])
        np.testing.assert_allclose(left @ right, (u[:, :rank] * s[:rank]) @ vt[:rank], atol=1e-11)
        np.testing.assert_allclose(np.linalg.norm(left, axis=0), np.sqrt(s[:rank]))
        np.testing.assert_allclose(np.linalg.norm(right, axis=1), np.sqrt(s[:rank]))


def test_wide_range_of_singular_values():
    """Six decades, to below the rounding of the float32 entries: the error is the rounding's, not the method's."""
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.standard_normal((30, 30)))[0] for _ in range(2))
    matrix = ((u * np.logspace(0, -6, 30)) @ v).astype(np.float32)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(np.sqrt(linalg.squared_singular_values(matrix)), exact, rtol=1e-2)
    for rank in (5, 15, 25, 30):
        left, right = linalg.truncated_svd(matrix, rank)
        assert np.linalg.norm(matrix - left @ right) == pytest.approx(np.linalg.norm(exact[rank:]), rel=1e-2, abs=1e-12)


def test_deficient_rank():
    rng = np.random.default_rng(2)
    matrix = np.outer(rng.standard_normal(6), rng.standard_normal(9))
    left, right = linalg.truncated_svd(matrix, 6)
    assert np.isfinite(left).all() and np.isfinite(right).all()
    np.testing.assert_allclose(left @ right, matrix, atol=1e-12)
    assert (linalg.squared_singular_values(matrix) >= 0).all()


def test_blocks_of_columns_add_up(monkeypatch):
    matrix = np.random.default_rng(3).standard_normal((4, 11))
    monkeypatch.setattr(linalg, "_BLOCK_COLUMNS", 3)
    np.testing.assert_allclose(linalg.gram(matrix), matrix @ matrix.T, rtol=1e-14)


def test_sign_of_a_vector_is_fixed():
    matrix = np.random.default_rng(4).standard_normal((5, 8))
    vectors = linalg.leading_vectors(matrix, 5)
    assert (vectors[np.abs(vectors).argmax(axis=0), range(5)] > 0).all()


@pytest.mark.parametrize("energy, rank", [(0.01, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.9999, 4), (1.0, 4)])
def test_smallest_rank(energy, rank):
    assert linalg.smallest_rank([8, 4, 2, 2, 0], energy) == rank


def test_smallest_rank_does_not_count_rounding():
    assert linalg.smallest_rank([1.0, 1e-15], 1.0) == 1
    assert linalg.smallest_rank([1.0, 1e-12], 1.0) == 2
    assert linalg.smallest_rank([0.0, 0.0], 1.0) == 1
