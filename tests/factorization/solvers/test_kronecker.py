"""Covariances that are products, and the metric that they make."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Layer
from tenfold.factorization.metrics import Covariance
from tenfold.factorization.solvers.kronecker import Whitener, nearest_product, roots


def covariance(size: int, rng: np.random.Generator) -> np.ndarray:
    samples = rng.standard_normal((4 * size, size)) @ rng.standard_normal((size, size))
    return samples.T @ samples / len(samples)


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 99))
def test_a_product_is_found(rows, width, seed):
    rng = np.random.default_rng(seed)
    moment = np.kron(covariance(rows, rng), covariance(width, rng))
    np.testing.assert_allclose(np.kron(*nearest_product(moment, width)), moment, rtol=1e-9, atol=1e-9 * np.abs(moment).max())


def test_no_product_is_nearer():
    """Van Loan and Pitsianis: the distance is that of the rearranged matrix from rank one."""
    moment = covariance(12, np.random.default_rng(0))
    rearranged = moment.reshape(4, 3, 4, 3).transpose(0, 2, 1, 3).reshape(16, 9)
    least = np.sqrt((np.linalg.svd(rearranged, compute_uv=False)[1:] ** 2).sum())
    assert np.linalg.norm(np.kron(*nearest_product(moment, 3)) - moment) == pytest.approx(least, rel=1e-3)


def test_roots_of_a_singular_matrix_are_finite():
    matrix = np.diag([4.0, 1.0, 0.0])
    root, inverse = roots(matrix)
    np.testing.assert_allclose(root @ root, matrix, atol=1e-4)
    np.testing.assert_allclose(root @ inverse, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("method", "ranks", "width"), [("spatial_svd", (4,), 3), ("tucker2", (3, 4), 9)])
def test_factors_are_best_where_the_covariance_is_a_product(method, ranks, width):
    """The error is that of the method on the whitened weight in the Frobenius norm."""
    rng = np.random.default_rng(1)
    layer = Layer("conv", "conv2d", (6, 5, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))
    weight = rng.standard_normal(layer.weight_shape)
    whitener = Whitener(np.kron(covariance(45 // width, rng), covariance(width, rng)), width)
    metric = Covariance(np.kron(whitener.a @ whitener.a, whitener.b @ whitener.b))
    whitened = np.einsum("ab,fbc,cd->fad", whitener.a, weight.reshape(6, -1, width), whitener.b).reshape(weight.shape)
    least = METHODS[method].factorize(whitened, layer, ranks).relative_error(whitened)
    found = METHODS[method].factorize(weight, layer, ranks, metric=metric).relative_error(weight, metric=metric)
    assert found <= least * 1.001
