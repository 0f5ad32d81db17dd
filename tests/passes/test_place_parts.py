"""Concatenated images that are written in parts: which kernels write where, and that the network still computes the same."""
from __future__ import annotations

import numpy as np
import pytest
from fusion_checks import check, conv, kernels, network
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tenfold.passes.pipeline import lower
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve

HOST = resolve("host")
SIZES, SCALES = np.array([20, 20]), np.array([1, 1, 2, 2], "float32")
SHAPES = {"w0": (40, 16, 1, 1), "w1": (24, 40, 3, 3), "w2": (36, 64, 1, 1), "w3": (8, 100, 1, 1), "w4": (8, 64, 1, 1), "w5": (20, 16, 1, 1)}


def relu(value, result):
    return helper.make_node("Relu", [value], [result])


def concat(*values):
    *parts, result = values
    return helper.make_node("Concat", parts, [result], axis=1)


FIRST = [conv("one", ["x", "w0"], "a"), relu("a", "ar"), conv("two", ["ar", "w1"], "b", pads=[1] * 4), relu("b", "br"),
         concat("ar", "br", "c")]
NESTED = [*FIRST, conv("three", ["c", "w2"], "d"), concat("c", "d", "e"), conv("four", ["e", "w3"], "y")]


def calls(net, target):
    """The calls of kernels in order: the operator, and the channels of the result."""
    main = lower(net.mod, backend_of(target), until="fuse")["main"]
    values = [binding.value for block in main.body.blocks for binding in block.bindings if hasattr(binding.value, "op")]
    return [(call.op.name.removeprefix("relax."), int(call.ty.shape[3])) for call in values]


def concatenations(net, target):
    return [name for name in kernels(net, target) if "concat" in name]


def test_parts_of_parts_lie_in_one_image(target):
    net = network(NESTED, SHAPES, [1, 16, 14, 14])
    assert not concatenations(net, target)
    assert calls(net, target)[:3] == [("call_tir", 100), ("call_tir_inplace", 100), ("call_tir_inplace", 100)]
    check(net, target)


def test_two_images(target):
    check(network(NESTED, SHAPES, [2, 16, 9, 7]), target)


def test_a_tensor_that_was_split_is_one_part(target):
    split = helper.make_node("Split", ["ar", "sizes"], ["p", "q"], axis=1)
    nodes = [*FIRST[:2], split, conv("two", ["q", "w"], "b", pads=[1] * 4), concat("p", "q", "b", "c"), conv("last", ["c", "w4"], "y")]
    net = network(nodes, {**SHAPES, "w": (24, 20, 3, 3)}, [1, 16, 14, 14], given={"sizes": SIZES})
    assert not concatenations(net, target)
    check(net, target)


@pytest.mark.parametrize("nodes", [
    [concat("x", "x", "c"), conv("last", ["c", "w"], "y")],                   # no kernel makes an operand
    [*FIRST[:2], concat("ar", "ar", "c"), conv("last", ["c", "w80"], "y")],  # twice the same
])
def test_what_can_not_be_placed_is_copied(nodes, target):
    net = network(nodes, {**SHAPES, "w": (8, 32, 1, 1), "w80": (8, 80, 1, 1)}, [1, 16, 14, 14])
    assert len(concatenations(net, target)) == 1
    check(net, target)


@pytest.mark.quick(1)
def test_a_tensor_lies_in_one_of_two_concatenations(target):
    nodes = [*FIRST, conv("other", ["x", "w5"], "o"), concat("o", "br", "f"), conv("last", ["c", "w4"], "g"),
             conv("end", ["f", "w44"], "h"), helper.make_node("Add", ["g", "h"], ["y"])]
    net = network(nodes, {**SHAPES, "w44": (8, 44, 1, 1)}, [1, 16, 14, 14])
    assert len(concatenations(net, target)) == 1
    check(net, target)


def test_a_part_that_is_also_an_output(target):
    check(network([*FIRST, conv("last", ["c", "w4"], "y")], SHAPES, [1, 16, 14, 14], ("y", "br")), target)


def test_a_concatenation_that_is_the_output(target):
    check(network([*FIRST[:4], concat("ar", "br", "y")], SHAPES, [1, 16, 14, 14]), target)


def test_pools_and_resizes_are_parts_too(target):
    pool = helper.make_node("MaxPool", ["br"], ["p"], kernel_shape=[2, 2], strides=[2, 2])
    large = helper.make_node("Resize", ["p", "", "scales"], ["u"], mode="linear", coordinate_transformation_mode="half_pixel")
    near = helper.make_node("Resize", ["p", "", "scales"], ["v"], mode="nearest", coordinate_transformation_mode="asymmetric",
                            nearest_mode="floor")
    nodes = [*FIRST[:4], pool, large, near, concat("br", "u", "v", "c"), conv("last", ["c", "w72"], "y")]
    check(network(nodes, {**SHAPES, "w72": (8, 72, 1, 1)}, [1, 16, 14, 14], given={"scales": SCALES}), target)


@pytest.mark.slow
@given(parts=st.lists(st.tuples(st.integers(1, 40), st.sampled_from([1, 3, 5])), min_size=2, max_size=4), size=st.integers(2, 15))
@settings(deadline=None, max_examples=10, derandomize=True)
def test_any_channels(parts, size):
    """Each part is made of the one before it, some by depthwise layers, and read by the convolution behind all."""
    nodes, shapes, source, channels = [], {}, "x", 16
    for i, (filters, kernel) in enumerate(parts):
        filters = channels if kernel == 5 else filters
        group = channels if kernel == 5 else 1
        nodes += [conv(f"part{i}", [source, f"w{i}"], f"p{i}", pads=[kernel // 2] * 4, group=group), relu(f"p{i}", f"r{i}")]
        shapes[f"w{i}"] = (filters, 1 if kernel == 5 else channels, kernel, kernel)
        source, channels = f"r{i}", filters
    total = sum(shape[0] for shape in shapes.values())
    nodes += [concat(*(f"r{i}" for i in range(len(parts))), "c"), conv("last", ["c", "w"], "y")]
    net = network(nodes, {**shapes, "w": (8, total, 1, 1)}, [1, 16, size, size])
    assert not concatenations(net, HOST)
    check(net, HOST)


@pytest.mark.quick(1)
def test_parts_of_a_split_are_read_where_they_lie(target):
    split = helper.make_node("Split", ["ar", "sizes"], ["p", "q"], axis=1)
    nodes = [*FIRST[:2], split, conv("left", ["p", "l"], "b", pads=[1] * 4, group=20),
             conv("right", ["q", "r"], "c", pads=[2] * 4, group=20), concat("b", "c", "d"), conv("last", ["d", "w40"], "y")]
    net = network(nodes, {**SHAPES, "l": (20, 1, 3, 3), "r": (20, 1, 5, 5), "w40": (8, 40, 1, 1)}, [1, 16, 14, 14], given={"sizes": SIZES})
    assert not concatenations(net, target) and not any("split" in name for name in kernels(net, target))
    check(net, target)


def test_a_part_of_a_split_that_is_an_output(target):
    split = helper.make_node("Split", ["ar", "sizes"], ["p", "q"], axis=1)
    net = network([*FIRST[:2], split, conv("left", ["p", "l"], "y", pads=[1] * 4)], {**SHAPES, "l": (8, 20, 3, 3)}, [1, 16, 14, 14],
                  ("y", "q"), given={"sizes": SIZES})
    check(net, target)


def test_a_shuffle_takes_the_concatenation_in(target):
    nodes = [*FIRST, helper.make_node("Reshape", ["c", "five"], ["s"]), helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1, 3, 4]),
             helper.make_node("Reshape", ["t", "four"], ["u"]), helper.make_node("MaxPool", ["u"], ["y"], kernel_shape=[2, 2])]
    net = network(nodes, SHAPES, [1, 16, 14, 14], given={"five": np.array([1, 2, 32, 14, 14]), "four": np.array([1, 64, 14, 14])})
    assert len(concatenations(net, target)) == 1
    check(net, target)
