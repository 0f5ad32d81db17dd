"""Tables 1 and 2 of Denton et al. against the stages of the chains, and against what the paper prints."""
from math import prod

import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight, sub_ranks
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Layer
from tenfold.factorization import denton_counts as counts

OPERATIONS = {
    "monochromatic": counts.monochromatic_operations,
    "biclustering_svd": counts.svd_operations,
    "biclustering_outer": counts.outer_product_operations,
}
PARAMETERS = {
    "monochromatic": counts.monochromatic_parameters,
    "biclustering_svd": counts.svd_parameters,
    "biclustering_outer": counts.outer_product_parameters,
}
LAYER1 = conv_layer(96, 3, 7, 7, stride=(2, 2), padding=(3, 3, 3, 3), size=(224, 224))
LAYER2 = conv_layer(256, 96, 5, 5, padding=(2, 2, 2, 2), size=(27, 27))


@pytest.mark.parametrize("name", OPERATIONS)
@PROPERTY
@given(data=st.data(), part=st.floats(0, 1))
def test_formulas_are_the_chains(name, data, part):
    layer = data.draw(layers(name))
    ranks = sub_ranks(name, layer, part)
    outline = METHODS[name].outline(layer, ranks)
    assert counts.convolution_operations(layer) * layer.batch == layer.macs
    assert counts.convolution_parameters(layer) == layer.params
    assert OPERATIONS[name](layer, *ranks) == outline.macs(*layer.input_size)
    assert PARAMETERS[name](layer, *ranks) == outline.params


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, layer, ranks",
    [
        ("monochromatic", LAYER1, (6,)),
        ("monochromatic", LAYER1, (12,)),
        ("biclustering_outer", LAYER2, (48, 2, 6)),
        ("biclustering_outer", LAYER2, (48, 2, 8)),
        ("biclustering_svd", LAYER2, (2, 2, 19, 24)),
    ],
)
def test_the_papers_parameters_give_factors_of_the_size_of_its_formulas(name, layer, ranks):
    chain = METHODS[name].factorize(random_weight(layer, 0), layer, ranks)
    assert sum(stage.weight.size for stage in chain.stages) == PARAMETERS[name](layer, *ranks)
    h, w, macs = *layer.input_size, 0
    for stage in chain.stages:
        h, w = stage.output_size(h, w)
        macs += h * w * stage.weight.size
    assert macs == OPERATIONS[name](layer, *ranks) and (h, w) == layer.output_size


def test_table_1_written_out():
    c, f, xy, nm = 3, 96, 49, 224 * 224
    assert counts.convolution_operations(LAYER1) == xy * c * f * nm // 4
    assert counts.monochromatic_operations(LAYER1, 6) == 6 * c * nm + xy * f * nm // 4
    c, f, xy, nm = 96, 256, 25, 27 * 27
    assert counts.outer_product_operations(LAYER2, 48, 2, 6) == 48 * 2 * 6 * (nm * c // 48 + xy * nm + f // 2 * nm)
    assert counts.svd_operations(LAYER2, 2, 2, 19, 24) == 2 * 2 * nm * (c // 2 * 19 + 19 * xy * 24 + 24 * f // 2)


def _reduction(name, layer, *ranks):
    return counts.convolution_parameters(layer) / PARAMETERS[name](layer, *ranks)


def test_reductions_of_table_2_that_follow_from_its_formulas():
    assert _reduction("monochromatic", LAYER1, 6) == pytest.approx(3, abs=0.05)
    for k, printed in ((350, 5.8), (650, 3.14)):
        reduction = counts.dense_parameters(4096, 4096) / counts.dense_svd_parameters(4096, 4096, k)
        assert printed <= reduction < printed + 0.06  # 5.85 and 3.15


def test_reductions_of_table_2_that_do_not():
    """What the formulas give, beside what is printed: 5.3 and 3.9; and the layer sizes at which the other dense layers come out."""
    assert _reduction("biclustering_outer", LAYER2, 48, 2, 6) == pytest.approx(6.9, abs=0.05)
    assert _reduction("biclustering_svd", LAYER2, 2, 2, 19, 24) == pytest.approx(10.0, abs=0.05)
    for n, m, k, printed in ((18432, 4096, 250, 13.4), (18432, 4096, 950, 3.5), (4096, 4000, 250, 8.1), (4096, 4000, 850, 2.4)):
        assert counts.dense_parameters(n, m) / counts.dense_svd_parameters(n, m, k) == pytest.approx(printed, abs=0.05)
    for n, m, k, printed in ((9216, 4096, 250, 13.4), (4096, 1000, 250, 8.1)):
        assert counts.dense_parameters(n, m) / counts.dense_svd_parameters(n, m, k) < 0.9 * printed


@pytest.mark.parametrize("shape", [(1000, 4096), (4096, 9216)])
def test_the_svd_of_a_dense_layer(shape):
    layer = Layer("fc", "dense", shape)
    assert METHODS["svd"].outline(layer, (250,)).params == counts.dense_svd_parameters(*shape, 250)
    assert layer.params == counts.dense_parameters(*shape) == prod(shape)
