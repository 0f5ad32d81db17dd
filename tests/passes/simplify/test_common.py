"""What is computed twice is computed once."""
import numpy as np
from frontend_checks import graph, normal
from simplify_checks import kinds, simplified


def test_equal_nodes_become_one_and_then_those_behind_them():
    weights = {"w": normal(4, 4, 3, 3), "v": normal(4, 4, 3, 3), "u": normal(4, 4, 3, 3, seed=1)}
    nodes = "a = Conv(x, w) b = Conv(x, v) c = Conv(x, u) d = Relu(a) e = Relu(b) f = Mul(d, e) y = Mul(f, c)"
    small, found = simplified(graph("float[1,4,8,8] x => float y", nodes, weights))
    assert kinds(small) == ["Conv", "Conv", "Relu", "Mul", "Mul"]
    assert [merge.rewrite for merge in found.merges] == ["common"] * 2 and found.after.params == 2 * 144


def test_attributes_and_inputs_tell_nodes_apart():
    nodes = "a = LeakyRelu<alpha=0.1>(x) b = LeakyRelu<alpha=0.2>(x) c = Sub(a, b) d = Sub(b, a) y = Mul(c, d)"
    assert not simplified(graph("float[1,4,8,8] x => float y", nodes))[1].merges


def test_constants_that_differ_late_are_different():
    left = normal(1, 4, 8, 8)
    right = left.copy()
    right[0, 3, 7, 7] += 1
    nodes = "a = Mul(x, l) b = Mul(x, r) c = Relu(a) d = Sigmoid(b) y = Mul(c, d)"
    assert not simplified(graph("float[1,4,8,8] x => float y", nodes, {"l": left, "r": right}))[1].merges
    small, _ = simplified(graph("float[1,4,8,8] x => float y", nodes, {"l": left, "r": left.copy()}))
    assert kinds(small).count("Mul") == 2


def test_two_outputs_keep_their_names():
    small, found = simplified(graph("float[1,4] x => float y, float z", "y = Relu(x) z = Relu(x)"))
    assert [value.name for value in small.graph.output] == ["y", "z"] and not found.merges


def test_random_numbers_are_not_the_same_twice():
    from tenfold.frontends.onnx.constant_nodes import NEVER_FOLDED

    assert "RandomNormalLike" in NEVER_FOLDED
    nodes = "a = RandomNormalLike(x) b = RandomNormalLike(x) c = Sub(a, b) y = Add(x, c)"
    from tenfold.passes.simplify import simplify_onnx

    model = graph("float[1,4] x => float[1,4] y", nodes, {"unused": np.zeros(1, "float32")})
    assert not simplify_onnx(model)[1].merges
