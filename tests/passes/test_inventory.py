"""The list of layers: geometry, cost, weights and reasons, from the Relax module."""
import numpy as np
import pytest
from factor_checks import graph, normal
from tenfold.factorization import Layer, Plan
from tenfold.frontends import load
from tenfold.passes.factorize import Factorize
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


COMPUTED = "its weight is computed in every run: only constant weights are factored"


@pytest.mark.parametrize(
    "signature, node, shape, macs",
    [
        ("float[2,4,5,5] x, float[3,4,2,2] w", "Conv", (3, 4, 2, 2), 2 * 16 * 48),
        ("float[2,4,5,5] x, float[6,2,2,2] w", "Conv <group = 2>", (6, 2, 2, 2), 2 * 16 * 48),
        ("float[2,4,5] x, float[3,4,2] w", "Conv", (3, 4, 1, 2), 2 * 4 * 24),
        ("float[2,4,5,5,5] x, float[3,4,1,1,1] w", "Conv", (3, 4, 1, 1), 2 * 125 * 12),
        ("float[2,4,5,5] x, float[4,3,2,2] w", "ConvTranspose", (3, 4, 2, 2), 2 * 25 * 48),
        ("float[2,4] x, float[3,4] w", "Gemm <transB = 1>", (3, 4), 2 * 12),
        ("float[4,2] x, float[4,3] w", "Gemm <transA = 1, alpha = 0.5>", (3, 4), 2 * 12),
        ("float[2,7,4] x, float[4,3] w", "MatMul", (3, 4), 14 * 12),
        ("float[2,7,4] x, float[2,4,3] w", "MatMul", (6, 4), 2 * 7 * 12),
        ("float[2,7,4] x, float[4] w", "MatMul", (1, 4), 14 * 4),
    ],
)
def test_layers_whose_weight_is_computed_are_listed(signature, node, shape, macs):
    (layer,) = layers(f"{signature} => float y", f"e = Exp (w) [it] y = {node} (x, e)")
    assert (layer.name, layer.weight_shape, layer.macs, layer.params, layer.reason) == ("it", shape, macs, 0, COMPUTED)
    assert applicable(layer)[0] == []


@pytest.mark.parametrize(
    "signature, node, weight, shape, reason, macs",
    [
        ("float[2,4,7] x", "MatMul (w, x)", (5, 4), (5, 4), "its weight is the left factor: not factored", 14 * 20),
        ("float[2,7,4] x", "MatMul (x, w)", (2, 4, 3), (6, 4), "a stack of matrices: not factored", 2 * 7 * 12),
        ("float[4,2] x", "Gemm (w, x)", (5, 4), (5, 4), "its weight is the left factor: not factored", 2 * 20),
    ],
)
def test_products_that_are_no_dense_layer_are_listed(signature, node, weight, shape, reason, macs):
    (layer,) = layers(f"{signature} => float y", f"[it] y = {node}", {"w": normal(*weight)})
    assert (layer.name, layer.weight_shape, layer.macs, layer.reason) == ("it", shape, macs, reason)
    assert layer.params == np.prod(weight)


def test_a_plan_leaves_layers_with_computed_weights_alone():
    nodes = "[a] h = Conv (x, w) g = Exp (k) [b] y = Conv (h, g)"
    net = load(graph("float[1,16,8,8] x, float[4,32,1,1] k => float y", nodes, {"w": normal(32, 16, 3, 3)}))
    found = inventory(net.mod)
    plan = Plan.by_energy(found, weights(net.mod), net.sha256, "host", "auto", 0.5)
    assert list(plan.layers) == ["a"] and plan.refused == {"b": COMPUTED}
    assert [layer.name for layer in inventory(Factorize(plan.chains(found, weights(net.mod)))(net.mod))][-1] == "b"


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
