"""Branches of one input that are added: one layer that computes the same, under the name of the largest; or the sum as it was."""
import numpy as np
from frontend_checks import graph, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simplify_checks import Builder, attribute, kinds, simplified
from tenfold.frontends import load
from tenfold.passes.simplify import simplify_onnx
from tenfold.support.errors import TenfoldError


def test_a_block_of_repvgg():
    b = Builder(1, 8, 12, 12)
    y = b.add("Add", b.batch_norm(b.conv("x", "wide", 8, 8, pads=[1] * 4, bias=False), "wide_bn", 8),
              b.batch_norm(b.conv("x", "point", 8, 8, (1, 1), bias=False), "point_bn", 8), name="sum")
    y = b.add("Relu", b.add("Add", y, b.batch_norm("x", "same_bn", 8), name="sums"), name="relu")
    small, found = simplified(b.model(y))
    assert kinds(small) == ["Conv", "Relu"] and small.graph.node[0].name == "wide"
    assert found.before.macs - found.after.macs == 8 * 8 * 144
    assert {merge.rewrite for merge in found.merges} == {"branches"}
    assert [tensor.name for tensor in small.graph.initializer if tensor.name == "wide.weight"]


def test_a_block_of_mobileone():
    """Four depthwise branches, a pointwise scale and the input itself; then pointwise ones."""
    b = Builder(2, 6, 9, 9)
    branches = [b.batch_norm(b.conv("x", f"deep{i}", 6, 6, group=6, pads=[1] * 4, bias=False), f"bn{i}", 6) for i in range(4)]
    branches += [b.batch_norm(b.conv("x", "scale", 6, 6, (1, 1), group=6, bias=False), "bn_scale", 6), b.batch_norm("x", "skip", 6)]
    y = b.add("Relu", b.add("Sum", *branches, name="sum"), name="relu")
    points = [b.batch_norm(b.conv(y, f"point{i}", 10, 6, (1, 1), bias=False), f"pbn{i}", 10) for i in range(3)]
    y = b.add("Add", b.add("Add", points[0], points[1], name="s0"), points[2], name="s1")
    small, _ = simplified(b.model(y))
    assert kinds(small) == ["Conv", "Relu", "Conv"]
    assert [attribute(node, "group") for node in small.graph.node if node.op_type == "Conv"] == [6, 1]


def test_a_block_of_acnet():
    b = Builder(1, 4, 8, 8)
    parts = [b.conv("x", "square", 4, 4, pads=[1] * 4), b.conv("x", "tall", 4, 4, (3, 1), pads=[1, 0, 1, 0]),
             b.conv("x", "wide", 4, 4, (1, 3), pads=[0, 1, 0, 1])]
    small, _ = simplified(b.model(b.add("Sum", *parts, name="sum")))
    assert kinds(small) == ["Conv"] and small.graph.node[0].name == "square"


def test_what_is_cheaper_as_it_is_stays():
    """1 x 7 and 7 x 1 would become 7 x 7; a depthwise and a pointwise layer a dense one."""
    b = Builder(1, 4, 9, 9)
    y = b.add("Add", b.conv("x", "wide", 4, 4, (1, 7), pads=[0, 3, 0, 3]), b.conv("x", "tall", 4, 4, (7, 1), pads=[3, 0, 3, 0]), name="sum")
    _, found = simplified(b.model(y))
    assert not found.merges
    b = Builder(1, 16, 9, 9)
    y = b.add("Add", b.conv("x", "deep", 16, 16, group=16, pads=[1] * 4), b.conv("x", "point", 16, 16, (1, 1)), name="sum")
    _, found = simplified(b.model(y))
    assert not found.merges


def test_a_branch_that_others_read_stays():
    b = Builder(1, 4, 8, 8)
    inner = b.conv("x", "a", 4, 4, pads=[1] * 4)
    y = b.add("Add", inner, b.conv("x", "b", 4, 4, (1, 1)), name="sum")
    _, found = simplified(b.model(y, b.add("Relu", inner, name="relu")))
    assert not found.merges
    _, found = simplified(b.model(y, inner))
    assert not found.merges


def test_convolutions_of_different_values_stay():
    b = Builder(1, 4, 8, 8)
    y = b.add("Add", b.conv("x", "a", 4, 4), b.conv(b.add("Relu", "x", name="r"), "b", 4, 4), name="sum")
    assert not simplified(b.model(y))[1].merges


def test_one_pair_of_a_longer_sum_is_merged():
    b = Builder(1, 4, 8, 8)
    other = b.add("Sigmoid", "x", name="other")
    y = b.add("Add", b.add("Add", b.conv("x", "a", 4, 4, pads=[1] * 4), other, name="s0"), b.conv("x", "b", 4, 4, (1, 1)), name="s1")
    small, found = simplified(b.model(y))
    assert sorted(kinds(small)) == ["Add", "Conv", "Sigmoid"] and [merge.into for merge in found.merges] == ["a"]


def test_a_low_rank_update_of_a_dense_layer_is_merged():
    """A branch of two layers: W x + B (A x), as fine-tuning with adapters leaves it."""
    model = graph("float[5,32] x => float y", "h = MatMul(x, w) a0 = MatMul(x, a) a1 = MatMul(a0, b) y = Add(h, a1)",
                  {"w": normal(32, 24), "a": normal(32, 4), "b": normal(4, 24)})
    small, found = simplified(model)
    assert kinds(small) == ["MatMul"] and found.after.params == 32 * 24


def test_dense_branches_over_the_last_of_three_axes():
    model = graph("float[2,5,16] x => float y", "a0 = MatMul(x, a) b0 = MatMul(x, b) s = Add(a0, b0) y = Add(s, c)",
                  {"a": normal(16, 8), "b": normal(16, 8, seed=1), "c": normal(8)})
    small, _ = simplified(model)
    assert kinds(small) == ["MatMul", "Add"]


def test_weights_that_several_layers_share_are_not_changed_for_the_others():
    w, weights = normal(4, 4, 3, 3), {}
    model = graph("float[1,4,8,8] x => float y, float z",
                  "a = Conv<pads=[1,1,1,1]>(x, w) b = Conv<pads=[1,1,1,1]>(x, v) y = Add(a, b) r = Relu(x) z = Conv<pads=[1,1,1,1]>(r, w)",
                  {**weights, "w": w, "v": normal(4, 4, 3, 3, seed=3)})
    small, found = simplified(model)
    assert len(found.merges) == 1 and kinds(small).count("Conv") == 2


def test_what_overflows_stays():
    big = np.full((2, 2, 1, 1), 3e38, "float32")
    model = graph("float[1,2,4,4] x => float y", "a = Conv(x, w) b = Conv(x, v) y = Add(a, b)", {"w": big, "v": big / 2})
    network = load(model)
    small, found = simplify_onnx(network.onnx)
    assert not found.merges and small is network.onnx


SIDES = st.sampled_from([1, 2, 3, 5])


@st.composite
def branch(draw):
    return {
        "kernel": (draw(SIDES), draw(SIDES)),
        "dilation": draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2)])),
        "extra": (draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        "group": draw(st.sampled_from([1, 2, 4, 8])),
        "bias": draw(st.booleans()),
    }


@settings(max_examples=30, deadline=None)
@given(st.lists(branch(), min_size=2, max_size=4), st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 2)]), st.booleans(), st.integers(0, 99))
def test_random_branches(branches, stride, same, seed):
    """Any kernels, dilations and groups whose outputs are at the same places: begin and end of the padding make them so."""
    b = Builder(2, 8, 11, 10, seed=seed)
    sizes = (11, 10)
    outputs = []
    for number, d in enumerate(branches):
        begin = [d["extra"][a] for a in (0, 1)]
        out = [(sizes[a] + 2 - 1) // stride[a] + 1 for a in (0, 1)]
        end = [(out[a] - 1) * stride[a] + (d["kernel"][a] - 1) * d["dilation"][a] + 1 - sizes[a] - begin[a] for a in (0, 1)]
        if min(end) < 0:
            end = [max(e, 0) for e in end]
        outputs.append(b.conv("x", f"c{number}", 8, 8, d["kernel"], d["bias"], d["group"], strides=stride, dilations=d["dilation"],
                              pads=[*begin, *end]))
    if same and stride == (1, 1):
        outputs.append(b.batch_norm("x", "bn", 8))
    model = b.model(b.add("Sum", *outputs, name="sum"))
    try:
        load(model)
    except TenfoldError:  # their outputs are of different sizes
        assume(False)
    simplified(model)
