"""Network decoupling: least error by NumPy's SVD of each channel's slice, in both orders."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS

# The mode whose slices are factored: each input channel where the depthwise stage reads it, each output channel where it makes it.
ORDERS = {"decoupled": 1, "decoupled_pointwise_first": 0}
both_orders = pytest.mark.parametrize("name", ORDERS)


@both_orders
@PROPERTY
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_error_is_the_discarded_singular_values_of_all_slices(name, data, seed):
    layer, method = data.draw(layers(name)), METHODS[name]
    weight = random_weight(layer, seed)
    slices = np.moveaxis(weight.astype(np.float64), ORDERS[name], 0).reshape(weight.shape[ORDERS[name]], weight.shape[1 - ORDERS[name]], -1)
    values = np.linalg.svd(slices, compute_uv=False)
    assert method.max_ranks(layer) == (values.shape[1],)
    rank = data.draw(st.integers(1, values.shape[1]))
    discarded = np.linalg.norm(values[:, rank:]) / np.linalg.norm(values)
    assert method.factorize(weight, layer, (rank,)).relative_error(weight) == pytest.approx(discarded, rel=1e-6, abs=5e-7)
    np.testing.assert_allclose(method.spectra(weight)[0], np.sum(values**2, axis=0), rtol=1e-9, atol=1e-12)


@both_orders
def test_a_sum_of_separable_convolutions_is_recovered(name):
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(3):  # a depthwise and a pointwise convolution each
        depthwise = rng.standard_normal((1, 8, 3, 3) if name == "decoupled" else (12, 1, 3, 3))
        pairs.append(rng.standard_normal((12, 8, 1, 1)) * depthwise)
    weight, layer = sum(pairs).astype(np.float32), conv_layer(12, 8, 3, 3)
    assert METHODS[name].ranks_for_energy(weight, layer, 1.0) == (3,)
    assert METHODS[name].factorize(weight, layer, (3,)).relative_error(weight) < 1e-6


def test_stages():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    weight = random_weight(layer, 0)
    depthwise, pointwise = METHODS["decoupled"].factorize(weight, layer, (2,)).stages
    assert (depthwise.weight.shape, depthwise.groups, pointwise.weight.shape) == ((8, 1, 5, 3), 4, (6, 8, 1, 1))
    assert (depthwise.stride, depthwise.padding, depthwise.dilation) == ((2, 3), (1, 2, 3, 4), (2, 1))
    pointwise, depthwise = METHODS["decoupled_pointwise_first"].factorize(weight, layer, (2,)).stages
    assert (pointwise.weight.shape, depthwise.weight.shape, depthwise.groups) == ((12, 4, 1, 1), (6, 2, 5, 3), 6)
    assert (depthwise.stride, depthwise.padding, depthwise.dilation) == ((2, 3), (1, 2, 3, 4), (2, 1))


@both_orders
def test_a_pointwise_layer_is_refused(name):
    assert METHODS[name].check(conv_layer(8, 4, 1, 1)).reason == "1 x 1 kernel: it is pointwise already, channel_svd applies"
