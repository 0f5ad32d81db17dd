"""The separable basis of Jaderberg et al., scheme 1: planted bases are found, channels are independent, and the error is bounded."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS
from tenfold.factorization.methods.separable_basis import separable_bases

BASIS = METHODS["separable_basis"]
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("f, filters", [(20, 1), (20, 2), (4, 2)])
def test_planted_filters_are_found(seed, f, filters):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((f, 6, filters)), rng.standard_normal((6, filters, 5)), rng.standard_normal((6, filters, 3))
    weight = np.einsum("fcm,cmy,cmx->fcyx", *parts).astype(np.float32)
    layer = conv_layer(f, 6, 5, 3)
    assert BASIS.factorize(weight, layer, (filters,)).relative_error(weight) < 1e-5
    if filters > 1:
        assert BASIS.factorize(weight, layer, (1,)).relative_error(weight) > 0.1


@PROPERTY
@given(layer=layers("separable_basis"), seed=SEEDS, part=st.floats(0, 1))
def test_error_is_bounded_by_decoupling_and_by_single_taps(layer, seed, part):
    """M free filters can only be nearer than M separable ones; the M best taps of every channel are separable filters as well."""
    weight = random_weight(layer, seed)
    (limit,) = BASIS.max_ranks(layer)
    m = max(1, round(part * limit))
    error = BASIS.factorize(weight, layer, (m,)).relative_error(weight)
    squared = np.linalg.norm(weight.astype(np.float64)) ** 2
    taps = np.sort(np.sum(weight.astype(np.float64) ** 2, axis=0).reshape(weight.shape[1], -1), axis=1)
    assert error <= np.sqrt(taps[:, : limit - m].sum() / squared) + 1e-6 or m < limit
    free = METHODS["decoupled"]
    least = free.factorize(weight, layer, (min(m, *free.max_ranks(layer)),)).relative_error(weight)
    assert error >= least - 1e-6


def test_channels_are_independent():
    weight = random_weight(conv_layer(7, 3, 3, 3), 5)
    together = separable_bases(weight, 2)
    composed = np.einsum("cfm,cym,cxm->fcyx", *together)
    loud = weight * np.float32([1, 0, 1e3])[:, None, None]
    again = np.einsum("cfm,cym,cxm->fcyx", *separable_bases(loud, 2))
    assert not again[:, 1].any()
    for channel, scale in ((0, 1), (2, 1e3)):
        part = weight[:, channel]
        errors = [np.linalg.norm(part - x) for x in (composed[:, channel], again[:, channel] / scale)]
        assert errors[0] == pytest.approx(errors[1], rel=0.02)


def test_geometry_goes_with_its_axis():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    vertical, horizontal, last = BASIS.factorize(random_weight(layer, 0), layer, (7,)).stages
    assert [s.weight.shape for s in (vertical, horizontal, last)] == [(28, 1, 5, 1), (28, 1, 1, 3), (6, 28, 1, 1)]
    assert (vertical.stride, vertical.padding, vertical.dilation, vertical.groups) == ((2, 1), (1, 0, 3, 0), (2, 1), 4)
    assert (horizontal.stride, horizontal.padding, horizontal.dilation, horizontal.groups) == ((1, 3), (0, 2, 0, 4), (1, 1), 28)


def test_refusals_and_limits():
    assert BASIS.check(conv_layer(8, 4, 1, 1)).reason == "1 x 1 kernel: no rows and columns to separate, channel_svd applies"
    assert BASIS.check(conv_layer(8, 4, 3, 3, groups=2)).reason == "grouped convolution (2 groups): not factored"
    assert BASIS.max_ranks(conv_layer(8, 4, 5, 3)) == (15,)
