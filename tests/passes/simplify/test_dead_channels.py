"""Channels that are constant or that nobody reads are taken out of all layers around them, and the outputs stay the same."""
import numpy as np
import pytest
from frontend_checks import graph, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from simplify_checks import kinds, simplified


def shapes(model) -> dict[str, tuple[int, ...]]:
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return {node.name: weight_shape(model, node) for node in layers}


def weight_shape(model, node) -> tuple[int, ...]:
    return next(tuple(tensor.dims) for tensor in model.graph.initializer if tensor.name == node.input[1])


def without_rows(weight: np.ndarray, *rows: int) -> np.ndarray:
    weight = weight.copy()
    weight[list(rows)] = 0
    return weight


def test_constant_channels_go_into_the_bias_behind():
    """ReLU of a negative bias is 0, of a positive one not: both are known."""
    weights = {"w": without_rows(normal(6, 3, 3, 3), 1, 4), "a": np.array([1, 2, -1, 1, -3, 0], "float32"), "v": normal(5, 6, 1, 1)}
    nodes = "a0 = Conv<pads=[1,1,1,1]>(x, w, a) r = Relu(a0) y = Conv(r, v)"
    small, found = simplified(graph("float[1,3,8,8] x => float y", nodes, weights))
    assert sorted(shapes(small).values()) == [(4, 3, 3, 3), (5, 4, 1, 1)]
    assert [merge.rewrite for merge in found.merges] == ["dead_channels"]
    bias = next(numpy_helper.to_array(t) for t in small.graph.initializer if t.dims == [5])
    np.testing.assert_allclose(bias, 2 * weights["v"][:, 1, 0, 0], rtol=1e-6)


def test_a_constant_that_is_not_zero_stays_before_padding():
    weights = {"w": without_rows(normal(6, 3, 3, 3), 1, 4), "a": np.array([1, 2, -1, 1, -3, 0], "float32"), "v": normal(5, 6, 3, 3)}
    nodes = "a0 = Conv<pads=[1,1,1,1]>(x, w, a) r = Relu(a0) y = Conv<pads=[1,1,1,1]>(r, v)"
    _, found = simplified(graph("float[1,3,8,8] x => float y", nodes, weights))
    assert not found.merges  # of six channels an even number stays
    weights["a"][1] = -2
    small, _ = simplified(graph("float[1,3,8,8] x => float y", nodes, weights))
    assert sorted(shapes(small).values()) == [(4, 3, 3, 3), (5, 4, 3, 3)]


@pytest.mark.parametrize(("between", "gone"), [
    ("AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(r)", False),
    ("AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=0>(r)", True),
    ("AveragePool<kernel_shape=[3,3], count_include_pad=1>(r)", True),
    ("MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(r)", True),
    ("Conv<group=6, pads=[0,0,1,0]>(r, d)", False),
    ("Conv<group=6>(r, d)", True),
])
def test_what_a_border_does_to_a_constant(between, gone):
    weights = {"w": without_rows(normal(6, 3, 3, 3), 1, 4), "a": np.full(6, 2, "float32"), "v": normal(5, 6, 1, 1), "d": normal(6, 1, 3, 3)}
    nodes = f"a0 = Conv(x, w, a) r = Relu(a0) p = {between} y = Conv(p, v)"
    _, found = simplified(graph("float[1,3,9,9] x => float y", nodes, weights), only=["dead_channels"])
    assert bool(found.merges) == gone


def test_channels_that_nobody_reads_go_and_then_those_before_them():
    u, v = normal(10, 12), normal(12, 12, 3, 3)
    u[:, :4] = 0
    v[4:, 6:] = 0  # only the channels that go read these
    weights = {"w": normal(12, 3, 3, 3), "d": normal(12, 1, 3, 3), "v": v, "u": u}
    nodes = "a = Conv(x, w) b = Sigmoid(a) c = Conv<group=12, pads=[1,1,1,1]>(b, d) e = HardSwish(c) f = Conv(e, v) o = Relu(f) "
    nodes += "g = GlobalAveragePool(o) h = Flatten(g) y = Gemm<transB=1>(h, u)"
    small, _ = simplified(graph("float[1,3,12,12] x => float y", nodes, weights))
    assert sorted(shapes(small).values()) == [(8, 1, 3, 3), (8, 3, 3, 3), (8, 8, 3, 3), (10, 8)]


def test_vectors_stay_full():
    """Of 32 channels 20 are dead: 16 go."""
    weights = {"w": without_rows(normal(32, 3, 3, 3), *range(20)), "v": normal(6, 32, 1, 1)}
    small, _ = simplified(graph("float[1,3,8,8] x => float y", "a = Conv(x, w) r = Relu(a) y = Conv(r, v)", weights))
    assert sorted(shapes(small).values()) == [(6, 16, 1, 1), (16, 3, 3, 3)]
    weights["w"] = without_rows(normal(32, 3, 3, 3), *range(15))
    _, found = simplified(graph("float[1,3,8,8] x => float y", "a = Conv(x, w) r = Relu(a) y = Conv(r, v)", weights))
    assert not found.merges


def test_depthwise_layers_residual_sums_and_gates_keep_channels_together():
    """An inverted residual block with squeeze-and-excitation, of which a third of the inner channels is pruned."""
    dead = (0, 3, 5, 8, 10, 11)
    weights = {"w": without_rows(normal(18, 6, 1, 1), *dead), "d": normal(18, 1, 3, 3), "s": normal(4, 18, 1, 1), "t": normal(18, 4, 1, 1)}
    weights |= {"p": normal(6, 18, 1, 1), "sc": np.abs(normal(18, 1, 1)), "e": normal(18)}
    weights["t"] = without_rows(weights["t"], *dead)
    nodes = ("a = Conv(x, w) b = Relu(a) c = Conv<group=18, pads=[1,1,1,1]>(b, d) m = Mul(c, sc) q = Relu(m) g = GlobalAveragePool(q) "
             "h = Conv(g, s) i = Relu(h) j = Conv(i, t) k = Sigmoid(j) l = Mul(q, k) n = Conv(l, p) y = Add(n, x)")
    small, found = simplified(graph("float[1,6,9,9] x => float y", nodes, weights))
    found_shapes = sorted(shapes(small).values())
    assert (12, 6, 1, 1) in found_shapes and (12, 1, 3, 3) in found_shapes and (6, 12, 1, 1) in found_shapes
    assert {merge.rewrite for merge in found.merges} >= {"dead_channels"}


def test_a_residual_sum_ties_channels_of_two_layers():
    weights = {"w": without_rows(normal(6, 3, 3, 3), 0, 1), "v": without_rows(normal(6, 6, 3, 3), 0, 1), "u": normal(4, 6, 1, 1)}
    nodes = "a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) c = Conv<pads=[1,1,1,1]>(b, v) d = Add(b, c) e = Relu(d) y = Conv(e, u)"
    small, _ = simplified(graph("float[1,3,8,8] x => float y", nodes, weights))
    assert sorted(shapes(small).values()) == [(4, 3, 3, 3), (4, 4, 1, 1), (4, 4, 3, 3)]
    weights["v"] = normal(6, 6, 3, 3)  # the sum has all channels now
    _, found = simplified(graph("float[1,3,8,8] x => float y", nodes, weights), only=["dead_channels"])
    assert not found.merges


def test_a_flattened_image_before_a_dense_layer():
    weights = {"w": without_rows(normal(6, 3, 3, 3), 2, 5), "b": normal(6), "u": normal(10, 54), "c": normal(10)}
    weights["shape"] = np.array([1, 54], "int64")
    for flatten in ("f = Flatten(p)", "f = Reshape(p, shape)"):
        nodes = f"a = Conv(x, w, b) r = Tanh(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) {flatten} y = Gemm<transB=1>(f, u, c)"
        small, _ = simplified(graph("float[1,3,8,8] x => float y", nodes, weights))
        assert sorted(shapes(small).values()) == [(4, 3, 3, 3), (10, 36)]


def test_dense_layers():
    weights = {"w": normal(8, 6), "a": normal(6), "v": normal(6, 5)}
    weights["w"][:, [1, 2]] = 0
    small, _ = simplified(graph("float[3,8] x => float y", "h = Gemm(x, w, a) r = Sigmoid(h) y = Gemm(r, v)", weights))
    assert sorted(shapes(small).values()) == [(4, 5), (8, 4)]


@pytest.mark.parametrize("nodes", [
    "a = Conv(x, w) r = Relu(a) b = Conv(r, v) s = Softmax<axis=1>(r) y = Conv(s, u)",  # mixes channels
    "a = Conv(x, w) r = Relu(a) b = Conv(r, v) y = Concat<axis=1>(b, r)",
    "a = Conv(x, w) r = Relu(a) z = Sigmoid(x) t = Tile(z, two) q = Add(r, t) y = Conv(q, v)",
])
def test_what_needs_all_channels_keeps_them(nodes):
    weights = {"w": without_rows(normal(6, 3, 1, 1), 0, 1), "v": normal(4, 6, 1, 1), "u": normal(4, 6, 1, 1),
               "two": np.array([1, 2, 1, 1], "int64")}
    _, found = simplified(graph("float[1,3,8,8] x => float y", nodes, weights), only=["dead_channels"])
    assert not found.merges


def test_an_output_of_the_network_keeps_its_channels():
    weights = {"w": without_rows(normal(6, 3, 1, 1), 0, 1), "v": normal(4, 6, 1, 1)}
    _, found = simplified(graph("float[1,3,8,8] x => float y, float a", "a = Conv(x, w) r = Relu(a) y = Conv(r, v)", weights))
    assert not found.merges


KINDS = st.sampled_from(["Relu", "Sigmoid", "HardSwish", "LeakyRelu", "Tanh", "Clip", "MaxPool", "AveragePool", "Depthwise", "Mul", "Add",
                         "Neg", "Softplus", "Elu"])


@settings(max_examples=40, deadline=None)
@given(st.lists(KINDS, max_size=4), st.sets(st.integers(0, 11), max_size=9), st.sets(st.integers(0, 11), max_size=9), st.booleans(),
       st.integers(0, 99))
def test_random_regions(between, dead, unread, padded, seed):
    rng = np.random.default_rng(seed)
    weights = {"w": without_rows(normal(12, 3, 3, 3, seed=seed), *dead), "b": normal(12, seed=seed), "v": normal(5, 12, 3, 3, seed=seed)}
    weights["v"][:, list(unread)] = 0
    nodes, value = "a = Conv<pads=[1,1,1,1]>(x, w, b) ", "a"
    for number, kind in enumerate(between):
        name = f"n{number}"
        if kind in ("MaxPool", "AveragePool"):
            text = f"{kind}<kernel_shape=[2,2], pads=[0,1,1,0], count_include_pad={int(rng.integers(2))}>({value})"
            text = text if kind == "AveragePool" else f"MaxPool<kernel_shape=[2,2], pads=[0,1,1,0]>({value})"
        elif kind == "Depthwise":
            weights[f"w{number}"], weights[f"b{number}"] = normal(12, 1, 3, 3, seed=number), normal(12, seed=number)
            weights[f"w{number}"][rng.integers(0, 12, 3)] = 0
            text = f"Conv<group=12, pads=[1,1,1,1]>({value}, w{number}, b{number})"
        elif kind in ("Mul", "Add"):
            weights[f"c{number}"] = normal(12, 1, 1, seed=number)
            weights[f"c{number}"][rng.integers(0, 12, 2)] = 0
            text = f"{kind}({value}, c{number})"
        elif kind == "Clip":
            weights |= {"low": np.float32(-0.5), "high": np.float32(1.5)}
            text = f"Clip({value}, low, high)"
        else:
            text = f"{kind}({value})"
        nodes, value = f"{nodes}{name} = {text} ", name
    nodes += f"y = Conv<pads={[1] * 4 if padded else [0] * 4}>({value}, v)"
    small, found = simplified(graph("float[1,3,8,8] x => float y", nodes, weights), only=["dead_channels"])
    if len(dead | unread) >= 8 and (unread >= dead or not between and not padded):
        assert found.merges and kinds(small)
