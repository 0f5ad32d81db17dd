"""Truncated SVD of dense layers against NumPy's SVD and Denton et al."""
import numpy as np
import pytest
from factor_reference import PROPERTY, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Layer

SVD = METHODS["svd"]


@PROPERTY
@given(f=st.integers(2, 20), c=st.integers(2, 20), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_error_is_the_discarded_singular_values(f, c, seed, data):
    layer = Layer("fc", "dense", (f, c))
    weight = random_weight(layer, seed)
    rank = data.draw(st.integers(1, min(f, c)))
    values = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    chain = SVD.factorize(weight, layer, (rank,))
    discarded = np.linalg.norm(values[rank:]) / np.linalg.norm(values)
    assert chain.relative_error(weight) == pytest.approx(discarded, rel=1e-6, abs=5e-7)
    np.testing.assert_allclose(SVD.spectra(weight)[0], values**2, rtol=1e-9, atol=1e-12)


@PROPERTY
@given(seed=st.integers(0, 2**32 - 1), energy=st.floats(0.01, 0.999))
def test_ranks_for_energy_are_the_smallest(seed, energy):
    layer = Layer("fc", "dense", (9, 14))
    weight = random_weight(layer, seed)
    (rank,) = SVD.ranks_for_energy(weight, layer, energy)
    kept = np.cumsum(np.linalg.svd(weight.astype(np.float64), compute_uv=False) ** 2) / np.sum(weight.astype(np.float64) ** 2)
    assert kept[rank - 1] >= energy - 1e-12
    assert rank == 1 or kept[rank - 2] < energy


def test_stages():
    layer = Layer("fc", "dense", (10, 40))
    first, second = SVD.factorize(random_weight(layer, 0), layer, (3,)).stages
    assert first.weight.shape == (3, 40, 1, 1) and second.weight.shape == (10, 3, 1, 1)


@pytest.mark.parametrize("rank, reduction", [(350, 5.8), (650, 3.14)])
def test_reduction_of_dentons_second_dense_layer(rank, reduction):
    """Denton et al. 2014, table 2, FC layer 2: N K + K M parameters, 5.8 and 3.14 times fewer (the paper cuts digits off)."""
    layer = Layer("fc2", "dense", (4096, 4096))
    assert layer.params / SVD.outline(layer, (rank,)).params == pytest.approx(reduction, abs=0.06)
    assert layer.macs / SVD.macs(layer, (rank,)) == layer.params / SVD.outline(layer, (rank,)).params
