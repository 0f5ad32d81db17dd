"""Sums of outer products against tensors that are such sums, and against the SVD of matrices."""
import numpy as np
import pytest
from factor_reference import PROPERTY
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization.solvers.outer_products import nearest_term, outer_products, products

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(*[st.integers(1, 5)] * 4)


def _sum(terms):
    return np.einsum("nik,njk,nlk->nijl", *terms)


def _squared_errors(tensors, terms):
    return np.square(tensors - _sum(terms)).sum(axis=(1, 2, 3))


@PROPERTY
@given(sizes=SIZES, seed=SEEDS)
def test_the_error_of_every_tensor_falls_with_every_term(sizes, seed):
    tensors = np.random.default_rng(seed).standard_normal(sizes)
    errors = np.stack([_squared_errors(tensors, outer_products(tensors, rank)) for rank in range(1, 9)])
    norms = np.square(tensors).sum(axis=(1, 2, 3))
    assert np.all(errors[0] <= norms) and np.all(np.diff(errors, axis=0) <= 1e-9 * norms)


@PROPERTY
@given(sizes=SIZES, seed=SEEDS)
def test_one_outer_product_is_recovered(sizes, seed):
    rng = np.random.default_rng(seed)
    tensors = _sum([rng.standard_normal((sizes[0], size, 1)) for size in sizes[1:]])
    for terms in (nearest_term(tensors), outer_products(tensors, 1)):
        np.testing.assert_allclose(_sum(terms), tensors, atol=1e-9 * np.abs(tensors).max())


@PROPERTY
@given(rank=st.integers(1, 4), seed=SEEDS)
def test_orthogonal_terms_are_recovered(rank, seed):
    """Greedy steps find orthogonal terms of different sizes one by one."""
    rng = np.random.default_rng(seed)
    a, b, c = (np.linalg.qr(rng.standard_normal((1, size, size)))[0][:, :, :rank] for size in (5, 6, 7))
    tensors = _sum((a * 2.0 ** np.arange(rank), b, c))
    assert _squared_errors(tensors, outer_products(tensors, rank))[0] < 1e-12 * np.square(tensors).sum()


@PROPERTY
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), rank=st.integers(1, 6), seed=SEEDS)
def test_a_matrix_is_truncated_as_by_its_svd(rows, columns, rank, seed):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (rows, columns))
    values = 3.0 ** -np.arange(min(rows, columns))
    matrix = (left[:, : len(values)] * values) @ right[:, : len(values)].T
    error = _squared_errors(matrix[None, :, None, :], outer_products(matrix[None, :, None, :], rank))[0]
    assert error == pytest.approx(np.sum(values[rank:] ** 2), abs=1e-6)


def test_terms_for_more_continue_those_for_less():
    """Each new term is found in what is left, and the three vectors of each are of one length."""
    tensors = np.random.default_rng(0).standard_normal((2, 4, 5, 6))
    terms = outer_products(tensors, 3)
    lengths = np.stack([np.linalg.norm(factor, axis=1) for factor in terms])
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-9)


def test_zeros_and_more_terms_than_needed():
    assert not _sum(outer_products(np.zeros((2, 3, 4, 5)), 3)).any()
    tensors = np.random.default_rng(0).standard_normal((1, 2, 2, 2))
    terms = outer_products(tensors, 12)
    assert np.isfinite(_sum(terms)).all() and _squared_errors(tensors, terms)[0] < 1e-6


def test_products():
    b, c = np.random.default_rng(0).standard_normal((2, 3, 4, 5))[:, :, :, :2]
    np.testing.assert_allclose(products(b, c), np.einsum("njk,nlk->nkjl", b, c).reshape(3, 2, -1))
