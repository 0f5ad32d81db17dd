"""Spatial SVD: least error by NumPy's SVD of a fold made entry by entry, and where the geometry goes."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS

SPATIAL = METHODS["spatial_svd"]


def _fold(weight):
    f, c, y, x = weight.shape
    matrix = np.zeros((c * y, f * x))
    for index in np.ndindex(*weight.shape):
        matrix[index[1] * y + index[2], index[0] * x + index[3]] = weight[index]
    return matrix


@PROPERTY
@given(layer=layers("spatial_svd"), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_error_is_the_discarded_singular_values(layer, seed, data):
    weight = random_weight(layer, seed)
    values = np.linalg.svd(_fold(weight), compute_uv=False)
    rank = data.draw(st.integers(1, len(values)))
    assert SPATIAL.max_ranks(layer) == (len(values),)
    discarded = np.linalg.norm(values[rank:]) / np.linalg.norm(values)
    assert SPATIAL.factorize(weight, layer, (rank,)).relative_error(weight) == pytest.approx(discarded, rel=1e-6, abs=5e-7)


def test_geometry_goes_with_its_axis():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    vertical, horizontal = SPATIAL.factorize(random_weight(layer, 0), layer, (7,)).stages
    assert vertical.weight.shape == (7, 4, 5, 1) and horizontal.weight.shape == (6, 7, 1, 3)
    assert (vertical.stride, vertical.padding, vertical.dilation) == ((2, 1), (1, 0, 3, 0), (2, 1))
    assert (horizontal.stride, horizontal.padding, horizontal.dilation) == ((1, 3), (0, 2, 0, 4), (1, 1))


def test_separable_filters_are_of_rank_one():
    """A bank whose filters are all multiples of one outer product, as Jaderberg et al. begin with."""
    rng = np.random.default_rng(0)
    weight = np.einsum("f,c,y,x->fcyx", *(rng.standard_normal(n) for n in (6, 4, 5, 5))).astype(np.float32)
    layer = conv_layer(6, 4, 5, 5)
    assert SPATIAL.ranks_for_energy(weight, layer, 1.0) == (1,)
    assert SPATIAL.factorize(weight, layer, (1,)).relative_error(weight) < 1e-6
