"""Flattened layers: the counts of Jin et al., the start that a CP gives, and the order of the sets."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_metrics, random_weight, run_chain
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, flattening_saves
from tenfold.factorization.methods.flattened import Flattened, FlattenedVhl

JIN = {2: conv_layer(128, 96, 5, 5, padding=(2, 2, 2, 2)), 3: conv_layer(256, 128, 5, 5, padding=(2, 2, 2, 2))}
both_orders = pytest.mark.parametrize("method", [METHODS["flattened"], METHODS["flattened_vhl"]], ids=lambda m: m.name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, layer, weights",
    [("flattened", 2, 31_232), ("flattened", 3, 103_424), ("flattened_vhl", 2, 30_912), ("flattened_vhl", 3, 102_144)],
)
def test_weights_of_the_papers_layers(name, layer, weights):
    """The text's formula for the first order; table 1 for the second (section 4.3). The paper's first sets have K = F filters."""
    layer, f = JIN[layer], JIN[layer].out_channels
    assert METHODS[name].outline(layer, (f,)).params == weights
    if name == "flattened":
        assert weights == f * (f + layer.in_channels + 2 * 5 + 2 * 5)
    chain = METHODS[name].factorize(np.zeros(layer.weight_shape, np.float32), layer, (f,))
    assert sum(stage.weight.size for stage in chain.stages) == weights
    assert [stage.bias.shape for stage in chain.stages] == [(stage.weight.shape[0],) for stage in chain.stages]


@both_orders
@pytest.mark.parametrize("sets", [2, 3, 4])
@PROPERTY
@given(layer=layers("flattened"), seed=st.integers(0, 2**32 - 1), part=st.floats(0.05, 0.4))
def test_the_start_is_the_cp(method, sets, layer, seed, part):
    """However many sets: the same function of the image as the CP of that rank, its border included, and the same error."""
    method, cp = type(method)(sets), METHODS["cp"]
    weight, rank = random_weight(layer, seed), max(1, round(part * cp.max_ranks(layer)[0]))
    x = np.random.default_rng(seed).standard_normal((1, layer.in_channels, *layer.input_size))
    chain, plain = (m.factorize(weight, layer, (rank,)) for m in (method, cp))
    expected = run_chain(plain, x)[0]
    np.testing.assert_allclose(run_chain(chain, x)[0], expected, atol=1e-5 * np.abs(expected).max())
    assert chain.relative_error(weight) == pytest.approx(plain.relative_error(weight), abs=1e-6)


@both_orders
def test_the_start_in_a_metric_of_data(method):
    layer = conv_layer(6, 5, 3, 3, padding=(1, 1, 1, 1))
    weight, covariance = random_weight(layer, 0), random_metrics(layer, 1)[0]
    chains = [m.factorize(weight, layer, (8,), metric=covariance) for m in (method, METHODS["cp"])]
    errors = [chain.relative_error(weight, covariance) for chain in chains]
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)
    assert errors[0] < method.factorize(weight, layer, (8,)).relative_error(weight, covariance)


def test_order_of_the_stages():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    lvh, vhl = (METHODS[name].factorize(random_weight(layer, 0), layer, (7,)).stages for name in ("flattened", "flattened_vhl"))
    shapes = [(7, 4, 1, 1), (7, 1, 5, 1), (7, 1, 1, 3), (6, 7, 1, 1), (6, 1, 5, 1), (6, 1, 1, 3)]
    assert [s.weight.shape for s in lvh] == shapes
    assert [s.weight.shape for s in vhl] == [(4, 1, 5, 1), (4, 1, 1, 3), (7, 4, 1, 1), (7, 1, 5, 1), (7, 1, 1, 3), (6, 7, 1, 1)]
    for stages, start in ((lvh, 1), (vhl, 3)):
        vertical, horizontal = stages[start : start + 2]
        assert (vertical.stride, vertical.padding, vertical.dilation) == ((2, 1), (1, 0, 3, 0), (2, 1))
        assert (horizontal.stride, horizontal.padding, horizontal.dilation) == ((1, 3), (0, 2, 0, 4), (1, 1))
    for stages, start in ((lvh, 4), (vhl, 0)):
        vertical, horizontal = stages[start : start + 2]
        assert (vertical.stride, vertical.padding, vertical.dilation) == ((1, 1), (4, 0, 4, 0), (2, 1))
        assert (horizontal.stride, horizontal.padding, horizontal.dilation) == ((1, 1), (0, 1, 0, 1), (1, 1))


def test_three_sets_in_either_order():
    layer = conv_layer(6, 4, 3, 3)
    lvh, vhl = (method.outline(layer, (5,)) for method in (Flattened(3), FlattenedVhl(3)))
    assert lvh.params == 5 * 4 + 5 * 5 + 6 * 5 + (5 + 5 + 6) * 6
    assert vhl.params == 5 * 4 + 5 * 5 + 6 * 5 + (4 + 5 + 5) * 6
    with pytest.raises(ValueError, match="at least 2 sets"):
        Flattened(1)


def test_condition_of_equation_4():
    """The first layer of the paper's network is not flattened, the others are; a ratio k = 25 is past where it pays for C = 128."""
    assert not flattening_saves(3, 96, (5, 5))
    assert flattening_saves(96, 128, (5, 5)) and flattening_saves(128, 256, (5, 5))
    for k in (1, 2, 3, 8, 23, 24, 25):
        left, right = 128**2 * k**2 + 128**2 * k + 2 * 128 * 10, 128**2 * 25 * k
        assert flattening_saves(128, 128 * k, (5, 5)) == (left < right) == (k < 24)
