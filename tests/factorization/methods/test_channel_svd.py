"""Channel SVD: least error by NumPy's SVD of the filters as rows, and where the geometry goes."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS

CHANNEL = METHODS["channel_svd"]


@PROPERTY
@given(layer=layers("channel_svd"), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_error_is_the_discarded_singular_values(layer, seed, data):
    weight = random_weight(layer, seed)
    values = np.linalg.svd(np.stack([w.ravel() for w in weight]).astype(np.float64), compute_uv=False)
    rank = data.draw(st.integers(1, len(values)))
    assert CHANNEL.max_ranks(layer) == (len(values),)
    discarded = np.linalg.norm(values[rank:]) / np.linalg.norm(values)
    assert CHANNEL.factorize(weight, layer, (rank,)).relative_error(weight) == pytest.approx(discarded, rel=1e-6, abs=5e-7)


def test_geometry_goes_to_the_first_stage():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    basis, mixture = CHANNEL.factorize(random_weight(layer, 0), layer, (3,)).stages
    assert basis.weight.shape == (3, 4, 5, 3) and mixture.weight.shape == (6, 3, 1, 1)
    assert (basis.stride, basis.padding, basis.dilation) == ((2, 3), (1, 2, 3, 4), (2, 1))
    assert (mixture.stride, mixture.padding, mixture.dilation) == ((1, 1), (0, 0, 0, 0), (1, 1))
