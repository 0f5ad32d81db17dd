"""Scales and shifts of channels: into the layer before or after, where that is exact; or fewer of them."""
import numpy as np
import pytest
from frontend_checks import graph, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from simplify_checks import Builder, kinds, simplified


def constants(count: int = 4) -> dict[str, np.ndarray]:
    scale, shift = np.abs(normal(count, 1, 1)) + np.float32(0.5), normal(count, 1, 1, seed=1)
    return {"s": scale, "t": shift, "w": normal(6, count, 3, 3), "c": normal(6)}


def test_a_normalised_input_goes_into_a_convolution_without_padding():
    small, found = simplified(graph("float[1,4,8,8] x => float y", "a = Sub(x, t) b = Div(a, s) y = Conv(b, w, c)", constants()))
    assert kinds(small) == ["Conv"] and {merge.rewrite for merge in found.merges} == {"affine"}


def test_a_shift_before_padding_stays_and_a_scale_does_not():
    small, _ = simplified(graph("float[1,4,8,8] x => float y", "a = Mul(x, s) y = Conv<pads=[1,1,1,1]>(a, w, c)", constants()))
    assert kinds(small) == ["Conv"]
    _, found = simplified(graph("float[1,4,8,8] x => float y", "a = Add(x, t) y = Conv<pads=[0,0,0,1]>(a, w, c)", constants()))
    assert not found.merges


def test_steps_in_a_row_become_two():
    nodes = "a = Div(x, s) b = Sub(a, t) c0 = Mul(b, t) d = Add(c0, t) e = Sub(t, d) y = Relu(e)"
    small, _ = simplified(graph("float[1,4,8,8] x => float y", nodes, constants()))
    assert kinds(small) == ["Mul", "Add", "Relu"]


@pytest.mark.parametrize(("nodes", "left"), [
    ("a = Mul(x, one) y = Relu(a)", ["Relu"]),
    ("a = Add(x, zero) b = Relu(a) y = Div(b, one)", ["Relu"]),
    ("a = Mul(x, two) b = Div(a, two) y = Relu(b)", ["Relu"]),
])
def test_what_changes_nothing_is_gone(nodes, left):
    numbers = {"one": np.float32(1), "two": np.float32(2), "zero": np.zeros((1, 4, 1, 1), "float32")}
    small, _ = simplified(graph("float[1,4,8,8] x => float y", nodes, numbers))
    assert kinds(small) == left and small.graph.output[0].name == "y"


def test_a_network_that_returns_its_input_keeps_both_names():
    small, _ = simplified(graph("float[1,4,8,8] x => float y", "y = Mul(x, one)", {"one": np.float32(1)}))
    assert (small.graph.input[0].name, small.graph.output[0].name) == ("x", "y")


def test_a_scale_that_several_layers_read_goes_into_all_of_them():
    weights = {**constants(), "v": normal(5, 4, 1, 1), "u": normal(4, 1, 3, 3)}
    ports, nodes = "float[1,4,8,8] x => float p, float q, float r", "a = Mul(x, s) p = Conv<pads=[1,1,1,1]>(a, w) q = Conv(a, v) "
    small, _ = simplified(graph(ports, nodes + "r = Conv<group=4>(a, u)", weights))
    assert kinds(small) == ["Conv"] * 3
    _, found = simplified(graph(ports, nodes + "r = Relu(a)", weights))
    assert not found.merges


def test_steps_around_dense_layers():
    numbers = {"s": np.abs(normal(8)) + np.float32(0.5), "t": normal(8), "w": normal(8, 5), "c": normal(5), "d": normal(5, seed=3)}
    for nodes, left in (
        ("a = Mul(x, s) b = Add(a, t) e = MatMul(b, w) y = Add(e, c)", ["MatMul", "Add"]),
        ("e = MatMul(x, w) f = Add(e, c) g = Mul(f, d) y = Sub(g, c)", ["MatMul", "Add"]),
        ("a = Mul(x, s) b = Add(a, t) e = Gemm(b, w, c) y = Mul(e, d)", ["Gemm"]),
    ):
        small, _ = simplified(graph("float[3,8] x => float y", nodes, numbers))
        assert kinds(small) == left, nodes
    small, _ = simplified(graph("float[2,3,8] x => float y", "e = MatMul(x, w) f = Add(e, c) g = Mul(f, d) y = Sub(g, c)", numbers))
    assert kinds(small) == ["MatMul", "Add"]


def test_a_matrix_product_of_three_axes_takes_steps_over_the_last_axis_only():
    """A constant over the middle axis is none of its channels."""
    numbers = {"m": normal(1, 3, 1), "w": normal(8, 5)}
    _, found = simplified(graph("float[2,3,8] x => float y", "e = MatMul(x, w) y = Mul(e, m)", numbers))
    assert not found.merges
    _, found = simplified(graph("float[2,8,8] x => float y", "e = MatMul(x, w) y = Mul(e, m)", {"m": normal(1, 8, 1), "w": normal(8, 8)}))
    assert not found.merges


STEPS = st.lists(st.sampled_from(["Mul", "Add", "Sub", "Div"]), max_size=3)


@settings(max_examples=30, deadline=None)
@given(STEPS, STEPS, st.sampled_from([1, 2, 4]), st.integers(0, 2), st.booleans(), st.sampled_from([(1, 1), (2, 1), (3, 3)]),
       st.integers(0, 99))
def test_random_steps_around_a_convolution(before, after, group, pad, bias, kernel, seed):
    b = Builder(2, 4, 7, 6, seed=seed)
    y = "x"
    for number, kind in enumerate(before):
        y = b.channelwise(kind, y, f"before{number}", 4)
    y = b.conv(y, "conv", 4, 4, kernel, bias, group, pads=[pad, 0, pad, pad])
    for number, kind in enumerate(after):
        y = b.channelwise(kind, y, f"after{number}", 4)
    small, _ = simplified(b.model(y))
    shifts = [kind for kind in before if kind in ("Add", "Sub")]
    assert len(kinds(small)) <= (3 if pad and shifts else 1)
