"""The list of layers: geometry, cost, weights and reasons, from the Relax module."""
import numpy as np
import pytest
from factor_checks import graph, normal
from tenfold.factorization import Layer
from tenfold.frontends import load
from tenfold.passes.inventory import applicable, inventory, weights


def layers(*args):
    return inventory(load(graph(*args)).mod)


def test_a_convolution_with_all_its_geometry():
    nodes = "[conv] y = Conv <strides = [2, 1], pads = [1, 0, 2, 3], dilations = [1, 2]> (x, w, b)"
    found = layers("float[2,4,9,10] x => float y", nodes, {"w": normal(6, 4, 3, 3), "b": normal(6)})
    # (9 + 1 + 2 - 3) // 2 + 1 = 5 rows, (10 + 0 + 3 - 5) // 1 + 1 = 9 columns
    expected = Layer("conv", "conv2d", (6, 4, 3, 3), (2, 1), (1, 0, 2, 3), (1, 2), 1, (9, 10), (5, 9), batch=2)
    assert found == [expected]
    assert found[0].macs == 2 * 5 * 9 * 6 * 4 * 3 * 3 and found[0].params == 216


def test_dense_layers_count_their_rows():
    values = {"w": normal(7, 5), "v": normal(5, 4)}
    nodes = "[fc] a = Gemm <transB = 1> (x, w) [rows] y = MatMul (s, v)"
    found = layers("float[3,5] x, float[2,6,5] s => float a, float y", nodes, values)
    assert found == [Layer("fc", "dense", (7, 5), batch=3), Layer("rows", "dense", (4, 5), batch=12)]
    assert [layer.macs for layer in found] == [3 * 35, 12 * 20]


@pytest.mark.parametrize(
    "signature, node, shape, reason, macs",
    [
        ("float[1,4,6,6] x", "Conv <group = 4>", (4, 1, 3, 3), "depthwise: nothing to factor", 16 * 36),
        ("float[1,4,6,6] x", "Conv <group = 2>", (6, 2, 3, 3), "grouped convolution (2 groups): not factored", 16 * 108),
        # 6 x 6 pixels in, each meets all 4 * 5 * 3 * 3 weights
        ("float[1,4,6,6] x", "ConvTranspose <strides = [2, 2]>", (4, 5, 3, 3), "transposed convolution: not factored", 36 * 180),
        ("float[1,4,6,6] x", "ConvTranspose <group = 2>", (4, 3, 2, 2), "transposed convolution: not factored", 36 * 48),
        ("float[1,4,9] x", "Conv", (5, 4, 3), "1-D convolution: only 2-D ones are factored", 7 * 60),
        ("float[1,4,5,6,7] x", "Conv", (5, 4, 3, 3, 3), "3-D convolution: only 2-D ones are factored", 3 * 4 * 5 * 540),
    ],
)
def test_what_no_method_factors_has_a_reason(signature, node, shape, reason, macs):
    (layer,) = layers(f"{signature} => float y", f"y = {node} (x, w)", {"w": normal(*shape)})
    assert (layer.reason, layer.macs, layer.params) == (reason, macs, np.prod(shape))
    assert applicable(layer)[0] == []


def test_methods_and_the_reasons_against_the_others():
    (layer,) = layers("float[1,8,6,6] x => float y", "y = Conv (x, w)", {"w": normal(8, 8, 1, 1)})
    names, refused = applicable(layer)
    assert "channel_svd" in names and "spatial_svd" in refused and "svd" not in refused
    assert layer.reason is None


def test_only_layers_with_a_constant_weight_are_listed():
    nodes = "a = MatMul (x, x) b = MatMul (left, a) c = MatMul (b, batch) y = Conv (x4, dynamic)"
    values = {"left": normal(5, 4), "batch": normal(2, 4, 3)}
    assert layers("float[2,4,4] x, float[1,2,5,5] x4, float[3,2,1,1] dynamic => float c, float y", nodes, values) == []


def test_weights_are_those_that_the_network_computes_with():
    gamma, var, w, fc = normal(6), np.abs(normal(6, seed=1)) + 0.5, normal(6, 4, 3, 3), normal(5, 6)
    model = graph(
        "float[1,4,3,3] x => float y",
        """
        [conv] c = Conv (x, w)
        n = BatchNormalization <epsilon = 0.0> (c, gamma, zero, zero, var)
        f = Flatten (n)
        [fc] y = Gemm <transB = 1, alpha = 0.5> (f, fcw)
        """,
        {"w": w, "gamma": gamma, "zero": np.zeros(6, "float32"), "var": var, "fcw": fc},
    )
    found = weights(load(model).mod)
    assert list(found) == ["conv", "fc"]
    np.testing.assert_allclose(found["conv"], w * (gamma / np.sqrt(var))[:, None, None, None], rtol=1e-6)
    np.testing.assert_array_equal(found["fc"], fc * np.float32(0.5))
