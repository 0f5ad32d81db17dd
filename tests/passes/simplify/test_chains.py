"""Layers that follow each other: merged where that is exact and cheaper, and left alone where it is one of both."""
import numpy as np
from frontend_checks import graph, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simplify_checks import Builder, attribute, kinds, simplified
from tenfold.frontends import load
from tenfold.passes.simplify import simplify_onnx


def test_a_pointwise_layer_goes_into_the_one_behind():
    b = Builder(1, 8, 10, 10)
    y = b.conv(b.conv("x", "point", 16, 8, (1, 1), bias=False), "wide", 8, 16, pads=[1] * 4)
    small, found = simplified(b.model(y))
    assert kinds(small) == ["Conv"] and small.graph.node[0].name == "wide" and attribute(small.graph.node[0], "pads") == [1] * 4
    assert [merge.rewrite for merge in found.merges] == ["chains"]


def test_a_bias_before_padding_is_not_exact():
    b = Builder(1, 8, 10, 10)
    y = b.conv(b.conv("x", "point", 16, 8, (1, 1), bias=True), "wide", 8, 16, pads=[0, 0, 0, 1])
    assert not simplified(b.model(y))[1].merges
    b = Builder(1, 8, 10, 10)
    small, _ = simplified(b.model(b.conv(b.conv("x", "point", 16, 8, (1, 1), bias=True), "wide", 8, 16)))
    assert kinds(small) == ["Conv"]


def test_a_pointwise_layer_behind_goes_into_the_one_before_with_its_padding_and_bias():
    b = Builder(1, 8, 10, 10)
    y = b.conv(b.conv("x", "wide", 16, 8, pads=[1] * 4), "point", 8, 16, (1, 1))
    small, _ = simplified(b.model(y))
    assert kinds(small) == ["Conv"] and small.graph.node[0].name == "wide"


def test_a_bottleneck_stays():
    b = Builder(1, 32, 10, 10)
    y = b.conv(b.conv("x", "down", 4, 32, (1, 1), bias=False), "up", 32, 4, pads=[1] * 4)
    assert not simplified(b.model(y))[1].merges


def test_a_factored_network_is_not_multiplied_out():
    """1 x k and k x 1 with a low rank between, and depthwise with pointwise: what `compress` writes."""
    b = Builder(1, 16, 12, 12)
    y = b.conv("x", "tall", 6, 16, (3, 1), bias=False, pads=[1, 0, 1, 0])
    y = b.conv(y, "wide", 16, 6, (1, 3), pads=[0, 1, 0, 1])
    y = b.conv(b.conv(b.add("Relu", y, name="r"), "deep", 16, 16, group=16, pads=[1] * 4, bias=False), "point", 16, 16, (1, 1))
    assert not simplified(b.model(y))[1].merges


def test_dense_layers():
    weights = {"w": normal(8, 32), "a": normal(32), "v": normal(4, 32), "c": normal(4)}
    small, _ = simplified(graph("float[1,8] x => float y", "h = Gemm(x, w, a) y = Gemm<transB=1>(h, v, c)", weights))
    assert kinds(small) == ["Gemm"]
    weights = {"w": normal(8, 3), "v": normal(3, 32)}
    assert not simplified(graph("float[5,8] x => float y", "h = MatMul(x, w) y = MatMul(h, v)", weights))[1].merges
    weights = {"w": normal(8, 32), "a": normal(32), "v": normal(32, 4)}
    small, _ = simplified(graph("float[2,3,8] x => float y", "h = MatMul(x, w) g = Add(h, a) y = MatMul(g, v)", weights))
    assert kinds(small) == ["MatMul", "Add"]


def test_what_somebody_else_reads_stays():
    b = Builder(1, 8, 10, 10)
    inner = b.conv("x", "point", 16, 8, (1, 1), bias=False)
    assert not simplified(b.model(b.conv(inner, "wide", 8, 16), b.add("Relu", inner, name="r")))[1].merges


AXIS = st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.integers(0, 1), st.integers(0, 1))
LAYER = st.tuples(AXIS, AXIS, st.sampled_from([1, 2, 4]), st.booleans(), st.sampled_from([4, 8, 16]))


@settings(max_examples=40, deadline=None)
@given(st.lists(LAYER, min_size=2, max_size=3), st.integers(0, 99))
def test_random_chains(layers, seed):
    """Kernel, stride, dilation and padding of each axis, groups, bias and channels at random: merged or not, it is the same."""
    b = Builder(2, 8, 15, 14, seed=seed)
    y, count, size = "x", 8, [15, 14]
    for number, (rows, columns, group, bias, outputs) in enumerate(layers):
        (kh, sh, dh, bh, eh), (kw, sw, dw, bw, ew) = rows, columns
        y = b.conv(y, f"c{number}", outputs, count, (kh, kw), bias, group, strides=[sh, sw], dilations=[dh, dw], pads=[bh, bw, eh, ew])
        count = outputs
        size = [(n + b0 + e - (k - 1) * d - 1) // s + 1 for n, (k, s, d, b0, e) in zip(size, (rows, columns), strict=True)]
        assume(min(size) > 0)
    simplified(b.model(y))


def test_merging_is_done_in_float64():
    """Sums that float32 would lose: the merged weight is that of exact arithmetic, rounded once."""
    b = Builder(1, 4, 6, 6, seed=3)
    y = b.conv(b.conv("x", "one", 64, 4, (1, 1), bias=False), "two", 4, 64, (1, 1), bias=False)
    model = b.model(y)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    from onnx import numpy_helper

    first, second = (numpy_helper.to_array(weights[f"{name}.weight"])[:, :, 0, 0].astype("float64") for name in ("one", "two"))
    small, _ = simplified(model)
    merged = numpy_helper.to_array(small.graph.initializer[0])[:, :, 0, 0]
    np.testing.assert_array_equal(merged, (second @ first).astype("float32"))


def test_what_overflows_stays():
    """The first layer makes small numbers of small ones, and the second large ones of these: their product is no float32."""
    weights = {"w": np.full((4, 4, 1, 1), 1e30, "float32"), "v": np.full((4, 4, 1, 1), 1e30, "float32")}
    model = graph("float[1,4,6,6] x => float y", "a = Conv(x, w) y = Conv(a, v)", weights)
    assert not simplify_onnx(load(model).onnx)[1].merges
